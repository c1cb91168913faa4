"""Fingerprints of training data, so that a run is never resumed on different data by mistake."""

import hashlib
from pathlib import Path, PurePosixPath
from typing import TypeAlias

import numpy as np

from cascade_rcnn.data import Annotations
from cascade_rcnn.data.segmentations import Segmentations
from cascade_rcnn.errors import UserError

Fingerprint: TypeAlias = dict[str, list]  # "training classes" etc.: count and digest


def fingerprint(train: Annotations, val: Annotations | None) -> Fingerprint:
    """Fingerprint classes, images, boxes and, where they are learnt or pasted, masks of both datasets.

    It depends on their content, not their location.
    """
    marks = {f"training {name}": mark for name, mark in _marks(train).items()}
    return marks | ({} if val is None else {f"validation {name}": mark for name, mark in _marks(val).items()})


def _marks(annotations: Annotations) -> Fingerprint:
    classes = [(category.id, category.name) for category in annotations.categories]
    names = [PurePosixPath(name.replace("\\", "/")).name for name in annotations.file_names]
    columns = ("first", "boxes", "areas", "labels", "ignore")
    marks: Fingerprint = {
        "classes": [len(classes), digest(annotations, text=repr(classes))],
        "images": [len(names), digest(annotations, "image_ids", "image_sizes", text=repr(names))],
        "boxes": [len(annotations.boxes), digest(annotations, *columns)],
    }
    return marks if annotations.segmentations is None else marks | {"masks": _masks(annotations.segmentations)}


def _masks(segmentations: Segmentations) -> list:
    """Their number, and a hash of the texts; how a file is indented does not matter."""
    whole = hashlib.sha256(segmentations.lengths().bool().numpy().tobytes())
    whole.update(segmentations.data.numpy().tobytes().translate(None, b" \t\r\n"))
    return [int(segmentations.has().sum()), whole.hexdigest()]


def digest(annotations: Annotations, *columns: str, text: str = "") -> str:
    """Hash a text and columns of the annotations."""
    whole = hashlib.sha256(text.encode("utf-8", "surrogateescape"))
    for column in columns:
        whole.update(np.ascontiguousarray(getattr(annotations, column).numpy()).tobytes())
    return whole.hexdigest()


def check_same(before: Fingerprint, now: Fingerprint, output: Path) -> None:
    """Raise UserError naming the first part of the data that has changed."""
    for name in dict.fromkeys([*before, *now]):
        old, new = before.get(name, [0, ""]), now.get(name, [0, ""])
        if old != new:
            how = f"{new[0]}, then {old[0]}" if new[0] != old[0] else f"{new[0]}, as then, but others"
            raise UserError(
                f"{output}: the {name} are not those that this run started with ({how}); resume it on the same "
                "data (which may have moved), or start a new run in another --output"
            )
