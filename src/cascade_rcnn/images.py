"""Anything a user calls an image -> a uint8 RGB tensor (3, H, W)."""

from pathlib import Path
from typing import TypeAlias

import numpy as np
import PIL.Image
import torch
from torch import Tensor

from cascade_rcnn.errors import UserError
from cascade_rcnn.pixels import EXTENSIONS, MAX_MEGAPIXELS, from_array, from_pil, read_pixels

ImageLike: TypeAlias = str | Path | PIL.Image.Image | np.ndarray | Tensor

__all__ = ["EXTENSIONS", "MAX_MEGAPIXELS", "ImageLike", "read_image", "to_tensor"]


def read_image(path: str | Path, max_megapixels: float | None = MAX_MEGAPIXELS) -> Tensor:
    """Decode a file into uint8 RGB (3, H, W), upright (EXIF orientation applied).

    16-bit grey 0..65535 becomes 0..255, floating point must be 0..1. Raises UserError naming the file when it is
    missing, does not decode or is larger than that (None: no limit).
    """
    return torch.from_numpy(read_pixels(path, max_megapixels)).permute(2, 0, 1)


def to_tensor(image: ImageLike) -> Tensor:
    """A path, PIL image, numpy array (H, W, 3) or (H, W) RGB, or tensor (3, H, W) -> tensor (3, H, W).

    uint8 stays uint8 (0..255); floating point is taken as 0..1, as torchvision's detectors take it.
    """
    match image:
        case str() | Path():
            return read_image(image)
        case PIL.Image.Image():
            return _check(torch.from_numpy(from_pil(image)).permute(2, 0, 1))
        case np.ndarray():
            copy = np.array(from_array(image), order="C")  # PIL's arrays are read-only
            return _check(torch.from_numpy(copy).permute(2, 0, 1))
        case Tensor():
            return _check(image)
        case _:
            raise UserError(f"an image is of type {type(image).__name__}; give a path, PIL image, array or tensor")


def _check(image: Tensor) -> Tensor:
    if image.ndim != 3 or image.shape[0] != 3 or 0 in image.shape:
        raise UserError(f"an image tensor has shape {tuple(image.shape)}; give (3, height, width), not empty")
    if image.dtype != torch.uint8 and not image.is_floating_point():
        raise UserError(f"an image has dtype {image.dtype}; give uint8 (0..255) or floating point (0..1)")
    return image
