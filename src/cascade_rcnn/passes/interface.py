"""What a pass wraps, and what it is itself: a detector in torchvision's format.

N detections of an image · H, W its size
"""

from typing import Protocol, TypeAlias

from torch import Tensor

# `boxes` (N, 4), XYXY in pixels of the image, `scores` (N,) and `labels` (N,) in 1..M, sorted by score; any further
# entries have a row per detection as well.
Found: TypeAlias = dict[str, Tensor]


class Detect(Protocol):
    """Detect in images (3, H_i, W_i), uint8 or floating point 0..1, one result each.

    `scale` multiplies the size that the model resizes its images to.
    """

    def __call__(self, images: list[Tensor], scale: float = 1.0) -> list[Found]:
        """Return one result per image."""
        ...


def rows(found: Found, index: Tensor) -> Found:
    """Select detections by index or mask, with everything that they carry."""
    return {name: values[index] for name, values in found.items()}
