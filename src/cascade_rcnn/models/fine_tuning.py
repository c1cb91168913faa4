"""Fine-tuning on other classes: the weights of a class are carried over by its name."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cascade_rcnn.config import Category, replace
from cascade_rcnn.models.build import build
from cascade_rcnn.models.checkpoint import load
from cascade_rcnn.models.detector import Detector


def start_from(path: str | Path, categories: tuple[Category, ...], **sizes: Any) -> tuple[Detector, str]:
    """Load a checkpoint's detector to fine-tune on other classes, and a note on what is initialised from scratch.

    `sizes` (`min_size`, `max_size`) override the checkpoint's image sizes for training.
    All weights are carried over except those of individual classes (in classifiers and class-specific regressors),
    which are matched by class name; a class that the checkpoint does not know is initialised from scratch.
    """
    trained = load(path, **sizes)
    config = trained.config
    model = build(replace(config, categories=categories))
    own = model.state_dict()  # shares memory with the model
    pairs = [
        (old, new)
        for new, category in enumerate(categories)
        for old in [next((i for i, c in enumerate(config.categories) if c.name == category.name), None)]
        if old is not None
    ]
    boxes_too = True
    for name, value in trained.state_dict().items():
        if ".classifier." in name:  # background first; useless unless some class is carried over with it
            rows = [(0, 0), *((old + 1, new + 1) for old, new in pairs)] if pairs else []
            _carry(own[name], value, rows, (config.num_classes + 1, len(categories) + 1))
        elif ".regressor." in name and not config.box_head.class_agnostic:
            rows = [(4 * old + k, 4 * new + k) for old, new in pairs for k in range(4)]
            _carry(own[name], value, rows, (4 * config.num_classes, 4 * len(categories)))
            boxes_too = False
        else:
            own[name].copy_(value)
    known = {new for _, new in pairs}
    anew = [category.name for new, category in enumerate(categories) if new not in known]
    return model.train(), _note(anew, len(categories), boxes_too=boxes_too)


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
