"""The interface of passes: each wraps a detector and is a detector itself, with results in torchvision's format.

N detections of an image · H, W its size
"""

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor

from cascade_rcnn.masks import Masks

# Tensors `boxes` (N, 4), XYXY in pixels of the image, `scores` (N,) and `labels` (N,) in 1..M, sorted by score; `masks`
# (`Masks`) if the model predicts them. Other entries are tensors with a row per detection.
Found: TypeAlias = dict[str, Any]


class Detect(Protocol):
    """A detector for images (3, H_i, W_i), uint8 or floating point in 0..1, of different sizes.

    `scale` multiplies the size to which the model resizes its images.
    """

    def __call__(self, images: list[Tensor], scale: float = 1.0) -> list[Found]:
        """Return one result per image."""
        ...


def rows(found: Found, index: Tensor) -> Found:
    """Return the detections selected by an index or mask, with all their fields."""
    return {name: values[index] for name, values in found.items()}


def join(many: Sequence[Found]) -> Found:
    """Concatenate detections in the same image, with all their fields."""
    columns = {name: [found[name] for found in many] for name in many[0]}
    return {name: Masks.cat(x) if isinstance(x[0], Masks) else torch.cat(x) for name, x in columns.items()}


def on_cpu(found: Found) -> Found:
    """Move an image's detections to the CPU."""
    return {name: values.to("cpu") for name, values in found.items()}


def to_numpy(found: Found) -> dict[str, Any]:
    """Convert an image's detections to float32 and int64 arrays; encoded masks stay as they are."""
    return {
        # A view of a parameter, such as a task may return, needs gradients even in inference mode.
        name: (x.float() if x.is_floating_point() else x).detach().cpu().numpy() if isinstance(x, Tensor) else x
        for name, x in found.items()
    }
