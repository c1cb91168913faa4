"""Conversion of an image's detections to `supervision.Detections`; does not import torch."""

import warnings
from collections.abc import Sequence
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import supervision

_DEFAULT = 0.5  # threshold of `predict`
_FIELDS = {"boxes", "scores", "labels", "masks", "tracks"}  # which have their own place in supervision's detections


def check_reach(threshold: float, own: float) -> list[str]:
    """Return a note if a threshold asks for detections that the model, whose `score_threshold` is `own`, leaves out."""
    if not 0 < threshold < own:
        return []
    advice = f"`load` it with score_threshold={threshold:g}, and `save` it for commands and exports"
    return [f"a threshold of {threshold:g} finds no more than {own:g}, the model's own score_threshold; {advice}"]


def warn_of_reach(threshold: float, own: float) -> None:
    """Give the note of `check_reach` as a warning, if the threshold is not the default or above it."""
    for note in check_reach(threshold, own) if threshold < _DEFAULT else ():
        warnings.warn(note, stacklevel=3)


@cache
def load_supervision() -> ModuleType:
    """Import supervision on first use: it takes a second."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*OpenCV.*")  # its NumPy fallback suffices here
        import supervision
    return supervision


def to_supervision(
    found: dict[str, Any], class_names: Sequence[str], threshold: float | Sequence[float]
) -> "supervision.Detections":
    """Convert one image's `boxes` (N, 4), `scores` (N,) and `labels` (N,) in 1..M with scores of at least `threshold`.

    The threshold is one number for all classes, or one per class. `class_id` counts from 0, as supervision's tools
    expect; `data["class_name"]` holds the names. `masks`, if any, are `Masks` or an array (N, 1, H, W) or (N, H, W) of
    probabilities or bool; `mask` is (n, H, W) bool. `tracks` (N,), of a video, are track numbers, -1 for none. Other
    fields (N, ...), of a user's tasks, are entries of `data`.
    """
    class_id = found["labels"].astype(np.int64) - 1
    keep = found["scores"] >= np.broadcast_to(threshold, len(class_names))[class_id]
    class_id = class_id[keep]
    others = {name: values[keep] for name, values in found.items() if name not in _FIELDS}
    return load_supervision().Detections(
        xyxy=found["boxes"][keep].astype(np.float32),
        confidence=found["scores"][keep].astype(np.float32),
        class_id=class_id,
        tracker_id=found["tracks"][keep] if "tracks" in found else None,
        mask=_mask(found["masks"], keep) if "masks" in found else None,
        data={"class_name": np.array(class_names, dtype=str)[class_id], **others},
    )


def _mask(masks: Any, keep: np.ndarray) -> np.ndarray:
    """Return the masks of the kept detections, decoding no others."""
    if not isinstance(masks, np.ndarray):
        return masks.flags(keep)
    chosen = masks.reshape(len(masks), *masks.shape[-2:])[keep]
    return chosen >= 0.5 if chosen.dtype.kind == "f" else chosen.astype(np.bool_)
