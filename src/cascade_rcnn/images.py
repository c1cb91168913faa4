"""Anything a user calls an image -> an RGB tensor (3, H, W)."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cascade_rcnn.errors import UserError
from cascade_rcnn.inputs import ImageLike, to_array
from cascade_rcnn.pixels import EXTENSIONS, MAX_MEGAPIXELS, read_pixels

__all__ = ["EXTENSIONS", "MAX_MEGAPIXELS", "ImageLike", "read_image", "to_tensor"]


def read_image(path: str | Path, max_megapixels: float | None = MAX_MEGAPIXELS) -> Tensor:
    """Decode a file into uint8 RGB (3, H, W), upright (EXIF orientation applied).

    16-bit grey 0..65535 becomes 0..255, floating point must be 0..1. Raises UserError naming the file when it is
    missing, does not decode or is larger than that (None: no limit).
    """
    return torch.from_numpy(read_pixels(path, max_megapixels)).permute(2, 0, 1)


def to_tensor(image: ImageLike) -> Tensor:
    """Whatever `inputs` calls one image -> tensor (3, H, W), uint8 0..255 or floating point 0..1.

    A tensor stays on its device.
    """
    if isinstance(image, Tensor):
        return _three_channels(image)
    copy = np.array(to_array(image), order="C")  # PIL's arrays are read-only, and the caller's are the caller's
    return torch.from_numpy(copy).permute(2, 0, 1)


def _three_channels(image: Tensor) -> Tensor:
    planes = image[None] if image.ndim == 2 else image
    if planes.ndim != 3 or planes.shape[0] not in (1, 3, 4) or 0 in planes.shape:
        raise UserError(f"an image tensor has shape {tuple(image.shape)}; give (3, height, width), not empty")
    planes = planes.expand(3, -1, -1) if len(planes) == 1 else planes[:3]
    if image.dtype == torch.uint16:
        return planes.float() / 65535
    if image.dtype != torch.uint8 and not image.is_floating_point():
        raise UserError(f"an image has dtype {image.dtype}; give uint8 (0..255), uint16 or floating point (0..1)")
    return image if planes.shape == image.shape else planes
