"""Fingerprints of training data, so that a run is not resumed on different data by mistake."""

import hashlib
from pathlib import Path, PurePosixPath
from typing import TypeAlias

import numpy as np

from cascade_rcnn.data import Annotations
from cascade_rcnn.data.segmentations import Segmentations
from cascade_rcnn.errors import UserError

Fingerprint: TypeAlias = dict[str, list]  # "training classes" etc.: number and hash


def fingerprint(train: Annotations, val: Annotations | None) -> Fingerprint:
    """Return the fingerprint of the classes, images, boxes and, if used in training, masks of both datasets.

    It depends on the content of the datasets, not on their location.
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
    return marks if annotations.segmentations is None else marks | {"masks": masks_mark(annotations.segmentations)}


def masks_mark(segmentations: Segmentations) -> list:
    """Return the number of masks and a hash of their JSON, regardless of whitespace."""
    whole = hashlib.sha256(segmentations.lengths().bool().numpy().tobytes())
    whole.update(segmentations.data.numpy().tobytes().translate(None, b" \t\r\n"))
    return [int(segmentations.has().sum()), whole.hexdigest()]


def digest(annotations: Annotations, *columns: str, text: str = "") -> str:
    """Return a hash of a text and columns of the annotations."""
    whole = hashlib.sha256(text.encode("utf-8", "surrogateescape"))
    for column in columns:
        whole.update(np.ascontiguousarray(getattr(annotations, column).numpy()).tobytes())
    return whole.hexdigest()


def check_same(before: Fingerprint, now: Fingerprint, output: Path) -> None:
    """Raise UserError naming the first part of the data that has changed since the run started."""
    for name in dict.fromkeys([*before, *now]):
        old, new = before.get(name, [0, ""]), now.get(name, [0, ""])
        if old != new:
            how = f"now {new[0]}, then {old[0]}" if new[0] != old[0] else f"still {new[0]}, but with other content"
            raise UserError(
                f"{output}: the {name} have changed since this run started ({how}); resume it on the same data, "
                "wherever it is now, or start a new run in another --output"
            )
