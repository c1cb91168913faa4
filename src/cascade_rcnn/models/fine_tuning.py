"""Prepare a checkpoint for fine-tuning on other classes, whose weights are carried over by name."""

import re
from collections import defaultdict, deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cascade_rcnn.config import AnchorConfig, Category, ModelConfig, replace
from cascade_rcnn.errors import UserError
from cascade_rcnn.models.build import build
from cascade_rcnn.models.checkpoint import load
from cascade_rcnn.models.configure import trained_with
from cascade_rcnn.models.detector import Detector
from cascade_rcnn.protocols import Backbone


def start_from(
    path: str | Path,
    categories: tuple[Category, ...],
    backbone: Backbone | None = None,
    *,
    anchor_sizes: tuple[int, ...] | None = None,
    anchor_ratios: tuple[float, ...] | None = None,
    drop_path: float | None = None,
    checkpointing: bool = False,
    trainable_layers: int | None = None,
    masks: bool = True,
    **sizes: Any,
) -> tuple[Detector, str]:
    """Return a checkpoint's detector for other classes, ready to fine-tune, and a note on what was reinitialised.

    `sizes` (`min_size`, `max_size`), the anchors and how the backbone is trained (`drop_path`, `checkpointing`,
    `trainable_layers`) override the checkpoint's, as in `ModelOptions`; `backbone` is as in `load`. Without `masks`,
    mask heads are dropped, since they cannot learn from annotations without masks. Class-specific weights (of the
    classifiers, class-specific regressors and mask heads) are carried over by class name, and reinitialised for new
    classes. The RPN's output layers are reinitialised if the number of anchors per position changes. All other weights
    are kept.
    """
    trained = load(path, backbone=backbone, **sizes)
    config = trained.config
    anchors = other_anchors(config.rpn.anchors, anchor_sizes, anchor_ratios)
    network = trained_with(
        config.backbone,
        backbone,
        drop_path=drop_path,
        checkpointing=checkpointing,
        trainable_layers=trainable_layers,
    )
    changes = {"categories": categories, "rpn": replace(config.rpn, anchors=anchors), "backbone": network}
    model = build(replace(config, **changes, tasks=config.tasks if masks else ()), backbone)
    _shrink_outputs(model)
    own = model.state_dict()  # shares the model's memory
    pairs = _same_names(config.categories, categories)
    boxes_too = True
    for name, value in trained.state_dict().items():
        if name not in own:  # a mask head's
            continue
        layer = _layer_by_class(name)
        if layer == "classifier":  # background first; useless unless a class is carried over with it
            rows = [(0, 0), *((old + 1, new + 1) for old, new in pairs)] if pairs else []
            _carry(own[name], value, rows, (config.num_classes + 1, len(categories) + 1))
        elif layer == "regressor" and not config.box_head.class_agnostic:
            rows = [(4 * old + k, 4 * new + k) for old, new in pairs for k in range(4)]
            _carry(own[name], value, rows, (4 * config.num_classes, 4 * len(categories)))
            boxes_too = False
        elif layer == "predictor" and not _class_agnostic(config):
            _carry(own[name], value, pairs, (config.num_classes, len(categories)))
        elif own[name].shape == value.shape:
            own[name].copy_(value)
    known = {new for _, new in pairs}
    anew = [category.name for new, category in enumerate(categories) if new not in known]
    note = _note(anew, len(categories), boxes_too=boxes_too)
    left = "" if masks or not config.has_masks else "; its mask head is left out, as the annotations have no masks"
    return model.train(), note + left + _anchor_note(config.rpn.anchors, anchors)


def _shrink_outputs(model: Detector) -> None:
    """Give box heads small initial outputs, as random scores of new classes would disturb features that are trained."""
    for head in model.roi_heads.heads:
        for layer in (head.classifier, head.regressor):
            nn.init.normal_(layer.weight, std=0.01)  # type: ignore[arg-type, union-attr]


def _same_names(old: Sequence[Category], new: Sequence[Category]) -> list[tuple[int, int]]:
    """Return the positions (old, new) of classes with the same name; if several share one, they are paired in order."""
    places = defaultdict[str, deque[int]](deque)
    for k, category in enumerate(old):
        places[category.name].append(k)
    return [(places[one.name].popleft(), k) for k, one in enumerate(new) if places[one.name]]


def _layer_by_class(name: str) -> str | None:
    """Return which layer of a box or mask head a tensor belongs to, if its outputs are of classes.

    Layers of a user's own backbone may have the same names.
    """
    found = re.match(r"roi_heads\.heads\.\d+\.(classifier|regressor)\.|tasks\.\d+\.heads\.\d+\.(predictor)\.", name)
    return found and found[found.lastindex or 0]


def _class_agnostic(config: ModelConfig) -> bool:
    return all(task.class_agnostic for task in config.tasks)


def other_anchors(old: AnchorConfig, sizes: tuple[int, ...] | None, ratios: tuple[float, ...] | None) -> AnchorConfig:
    """Replace the anchors' ratios, and their sizes on the same levels; the last level takes any remaining sizes."""
    if sizes is not None:
        levels = len(old.sizes)
        if len(sizes) < levels:
            raise UserError(
                f"anchor_sizes has {len(sizes)} entries, but the checkpoint's RPN has {levels} levels; give one per "
                "level"
            )
        last = sizes[-1] if len(sizes) == levels else sizes[levels - 1 :]
        old = replace(old, sizes=(*sizes[: levels - 1], last))
    return old if ratios is None else replace(old, ratios=ratios)


def _anchor_note(old: AnchorConfig, new: AnchorConfig) -> str:
    """Return a note if the anchors differ, else an empty string."""
    if (old.levels, old.ratios) == (new.levels, new.ratios):
        return ""
    sizes = ", ".join(str(size) for level in new.levels for size in level)
    ratios = ", ".join(f"{ratio:g}" for ratio in new.ratios)
    same = [len(level) * len(new.ratios) for level in new.levels] == [len(x) * len(old.ratios) for x in old.levels]
    rpn = "keep their weights" if same else "start from scratch, as their number has changed"
    return f"; anchors have sizes {sizes} pixels and ratios (height / width) {ratios}: the RPN's outputs {rpn}"


def _carry(to: Tensor, source: Tensor, rows: Sequence[tuple[int, int]], outputs: tuple[int, int]) -> None:
    """Copy output rows (from, to) in place; each bin or classifier has `outputs` rows (in `source`, in `to`)."""
    if rows:
        old, new = (torch.tensor(column, device=to.device) for column in zip(*rows, strict=True))
        theirs = source.to(to.device).reshape(-1, outputs[0], *source.shape[1:])
        to.view(-1, outputs[1], *to.shape[1:])[:, new] = theirs[:, old]


def _note(anew: Sequence[str], classes: int, *, boxes_too: bool) -> str:
    if not anew:
        return "all classes keep their weights"
    shown = ", ".join(repr(name) for name in anew[:5]) + (", ..." if len(anew) > 5 else "")
    others = ", the others keep their weights" if len(anew) < classes else ""
    below = "backbone, RPN and box regressors" if boxes_too else "backbone and RPN"
    return f"{len(anew)} of {classes} classes start from scratch ({shown}){others}; {below} keep theirs"
