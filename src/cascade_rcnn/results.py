"""What a detector found in one image, as `supervision.Detections`; no torch."""

import warnings
from collections.abc import Sequence
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import supervision


@cache
def load_supervision() -> ModuleType:
    """The library, imported on first use: it takes a second."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*OpenCV.*")  # its NumPy fallback does all that is needed here
        import supervision
    return supervision


def to_supervision(
    found: dict[str, np.ndarray], class_names: Sequence[str], threshold: float
) -> "supervision.Detections":
    """One image's `boxes` (N, 4), `scores` (N,), `labels` (N,) in 1..M -> those scored `threshold` or more.

    `class_id` counts from 0, as supervision's tools expect; `data["class_name"]` holds the names.
    """
    keep = found["scores"] >= threshold
    class_id = found["labels"][keep].astype(np.int64) - 1
    return load_supervision().Detections(
        xyxy=found["boxes"][keep].astype(np.float32),
        confidence=found["scores"][keep].astype(np.float32),
        class_id=class_id,
        data={"class_name": np.array(class_names, dtype=str)[class_id]},
    )
