"""Fine-tuning on other classes: the weights of classes are carried over by name."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cascade_rcnn.config import AnchorConfig, Category, ModelConfig, replace
from cascade_rcnn.errors import UserError
from cascade_rcnn.models.build import build
from cascade_rcnn.models.checkpoint import load
from cascade_rcnn.models.detector import Detector
from cascade_rcnn.protocols import Backbone


def start_from(
    path: str | Path,
    categories: tuple[Category, ...],
    backbone: Backbone | None = None,
    *,
    anchor_sizes: tuple[int, ...] | None = None,
    anchor_ratios: tuple[float, ...] | None = None,
    masks: bool = True,
    **sizes: Any,
) -> tuple[Detector, str]:
    """Return a checkpoint's detector for other classes, ready to be fine-tuned, and a line about what is reinitialised.

    `sizes` (`min_size`, `max_size`) are the images' to train on, the anchors those of the RPN, as `ModelOptions` have
    them, where they are not the checkpoint's; `backbone` is as `load` has it.
    Without `masks`, mask heads are left out: they cannot learn from annotations that have none.
    All weights carry over but those of single classes (in the classifiers, and in class-specific regressors): these go
    by the classes' names, and a class that the checkpoint does not know starts anew. So do the RPN's outputs, where
    the number of anchors at a place is another.
    """
    trained = load(path, backbone=backbone, **sizes)
    config = trained.config
    anchors = other_anchors(config.rpn.anchors, anchor_sizes, anchor_ratios)
    changes = {"categories": categories, "rpn": replace(config.rpn, anchors=anchors)}
    model = build(replace(config, **changes, tasks=config.tasks if masks else ()), backbone)
    own = model.state_dict()  # the model's own memory
    pairs = [
        (old, new)
        for new, category in enumerate(categories)
        for old in [next((i for i, c in enumerate(config.categories) if c.name == category.name), None)]
        if old is not None
    ]
    boxes_too = True
    for name, value in trained.state_dict().items():
        if name not in own:  # of a mask head
            continue
        if ".classifier." in name:  # background first; useless unless some class is carried over with it
            rows = [(0, 0), *((old + 1, new + 1) for old, new in pairs)] if pairs else []
            _carry(own[name], value, rows, (config.num_classes + 1, len(categories) + 1))
        elif ".regressor." in name and not config.box_head.class_agnostic:
            rows = [(4 * old + k, 4 * new + k) for old, new in pairs for k in range(4)]
            _carry(own[name], value, rows, (4 * config.num_classes, 4 * len(categories)))
            boxes_too = False
        elif name.startswith("tasks.") and ".predictor." in name and not _class_agnostic(config):
            _carry(own[name], value, pairs, (config.num_classes, len(categories)))
        elif own[name].shape == value.shape:
            own[name].copy_(value)
    known = {new for _, new in pairs}
    anew = [category.name for new, category in enumerate(categories) if new not in known]
    note = _note(anew, len(categories), boxes_too=boxes_too)
    left = "" if masks or not config.has_masks else "; its mask head is left out, as the annotations have no masks"
    return model.train(), note + left + _anchor_note(config.rpn.anchors, anchors)


def _class_agnostic(config: ModelConfig) -> bool:
    return all(task.class_agnostic for task in config.tasks)


def other_anchors(old: AnchorConfig, sizes: tuple[int, ...] | None, ratios: tuple[float, ...] | None) -> AnchorConfig:
    """Replace anchor sizes on the same levels, the last taking those left over, and ratios."""
    if sizes is not None:
        levels = len(old.sizes)
        if len(sizes) < levels:
            raise UserError(
                f"anchor_sizes are {len(sizes)}, and the RPN to start from has {levels} levels; give one for each"
            )
        last = sizes[-1] if len(sizes) == levels else sizes[levels - 1 :]
        old = replace(old, sizes=(*sizes[: levels - 1], last))
    return old if ratios is None else replace(old, ratios=ratios)


def _anchor_note(old: AnchorConfig, new: AnchorConfig) -> str:
    """Return a note if the anchors differ, else nothing."""
    if (old.levels, old.ratios) == (new.levels, new.ratios):
        return ""
    sizes = ", ".join(str(size) for level in new.levels for size in level)
    ratios = ", ".join(f"{ratio:g}" for ratio in new.ratios)
    same = [len(level) * len(new.ratios) for level in new.levels] == [len(x) * len(old.ratios) for x in old.levels]
    rpn = (
        "the RPN's outputs keep their weights" if same else "the RPN's outputs start anew, for their number is another"
    )
    return f"; anchors are of {sizes} pixels and height / width {ratios}: {rpn}"


def _carry(to: Tensor, source: Tensor, rows: Sequence[tuple[int, int]], outputs: tuple[int, int]) -> None:
    """Copy output rows (from, to) in place. A head has `outputs` rows (theirs, ours) for each bin or classifier."""
    if rows:
        old, new = (torch.tensor(column) for column in zip(*rows, strict=True))
        theirs = source.reshape(-1, outputs[0], *source.shape[1:])
        to.view(-1, outputs[1], *to.shape[1:])[:, new] = theirs[:, old]


def _note(anew: Sequence[str], classes: int, *, boxes_too: bool) -> str:
    if not anew:
        return "all classes keep their weights"
    shown = ", ".join(repr(name) for name in anew[:5]) + (", ..." if len(anew) > 5 else "")
    others = ", the others keep their weights" if len(anew) < classes else ""
    below = "backbone, RPN and box regressors" if boxes_too else "backbone and RPN"
    return f"{len(anew)} of {classes} classes start from scratch ({shown}){others}; {below} keep theirs"
