"""Detections as `supervision.Detections`, and as a picture."""

import warnings
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import PIL.Image
from torch import Tensor

if TYPE_CHECKING:
    import supervision


def _supervision() -> ModuleType:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*OpenCV.*")  # its NumPy fallback does all that is needed here
        import supervision
    return supervision


def to_supervision(found: dict[str, Tensor], class_names: Sequence[str], threshold: float) -> "supervision.Detections":
    """One image's `boxes` (N, 4), `scores` (N,), `labels` (N,) in 1..M -> those scored `threshold` or more.

    `class_id` counts from 0, as supervision's tools expect; `data["class_name"]` holds the names.
    """
    keep = found["scores"] >= threshold
    class_id = found["labels"][keep].cpu().numpy() - 1
    return _supervision().Detections(
        xyxy=found["boxes"][keep].float().cpu().numpy(),
        confidence=found["scores"][keep].float().cpu().numpy(),
        class_id=class_id,
        data={"class_name": np.array(class_names, dtype=str)[class_id]},
    )


def draw(image: np.ndarray, detections: "supervision.Detections") -> PIL.Image.Image:
    """Boxes, class names and scores on a copy of an RGB image (H, W, 3) uint8; sizes follow the image's."""
    supervision = _supervision()
    height, width = image.shape[:2]
    thickness = max(1, round(max(height, width) / 400))
    labels = [str(name) for name in detections.data["class_name"]]
    if detections.confidence is not None:  # ground truth has none
        labels = [f"{name} {score:.2f}" for name, score in zip(labels, detections.confidence, strict=True)]
    picture = supervision.BoxAnnotator(thickness=thickness).annotate(image.copy(), detections)
    scale = max(0.35, max(height, width) / 2000)
    picture = supervision.LabelAnnotator(text_scale=scale, text_padding=2).annotate(picture, detections, labels)
    return PIL.Image.fromarray(picture)
