"""The interface of passes: a pass wraps a detector and is one itself, in torchvision's format.

N detections of an image · H, W its size
"""

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor

from cascade_rcnn.masks import Masks

# Tensors `boxes` (N, 4), XYXY in pixels of the image, `scores` (N,) and `labels` (N,) in 1..M, sorted by score; `masks`
# (`Masks`) if the model has any. Further entries are tensors that have a row per detection as well.
Found: TypeAlias = dict[str, Any]


class Detect(Protocol):
    """Detect in images (3, H_i, W_i), uint8 or floating point 0..1, one result each.

    `scale` multiplies the size that the model resizes its images to.
    """

    def __call__(self, images: list[Tensor], scale: float = 1.0) -> list[Found]:
        """Return one result per image."""
        ...


def rows(found: Found, index: Tensor) -> Found:
    """Select detections by index or mask, with all their fields."""
    return {name: values[index] for name, values in found.items()}


def join(many: Sequence[Found]) -> Found:
    """Concatenate detections in one image, with all their fields."""
    columns = {name: [found[name] for found in many] for name in many[0]}
    return {name: Masks.cat(x) if isinstance(x[0], Masks) else torch.cat(x) for name, x in columns.items()}
