"""Convert images in any supported form to RGB tensors (3, H, W), and back to pixels for pictures."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cascade_rcnn.errors import UserError
from cascade_rcnn.images.decoding import MAX_MEGAPIXELS, decode_image
from cascade_rcnn.images.inputs import ImageLike, to_array
from cascade_rcnn.images.pixels import check_range, warn_of_narrow_range


def read_image(path: str | Path, max_megapixels: float | None = MAX_MEGAPIXELS) -> Tensor:
    """Decode a file to uint8 RGB (3, H, W), with the EXIF orientation applied.

    16-bit greyscale 0..65535 is scaled to 0..255; floating point must be 0..1. Raises UserError naming the file if it
    is missing, cannot be decoded, or exceeds `max_megapixels` (None: no limit).
    """
    return torch.from_numpy(decode_image(path, max_megapixels)).permute(2, 0, 1)


def to_tensor(image: ImageLike, *, check_values: bool = True) -> Tensor:
    """Convert an image in a form that `inputs` lists to a tensor (3, H, W), uint8 0..255 or floating point 0..1.

    Tensors stay on their device; without `check_values`, their range is not checked, which would wait for a GPU.
    Raises UserError for anything else, such as floating point 0..255 or NaN.
    """
    if isinstance(image, Tensor):
        planes = _three_channels(image)
        if check_values and image.dtype == torch.uint16:
            warn_of_narrow_range(int(image.int().max()))  # torch has no maximum of uint16
        if check_values and image.is_floating_point():
            low, high = (value.item() for value in planes.detach().aminmax())
            check_range(f"an image tensor of {image.dtype}", low, high)
        return planes
    copy = np.array(to_array(image), order="C")  # PIL's arrays are read-only, and the caller's must not be aliased
    return torch.from_numpy(copy).permute(2, 0, 1)


def to_pixels(image: Tensor) -> np.ndarray:
    """Convert an image (3, H, W), uint8 or floating point 0..1, to (H, W, 3) uint8, for pictures."""
    image = (image * 255).round().clamp(0, 255) if image.is_floating_point() else image
    return image.byte().permute(1, 2, 0).contiguous().numpy()


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
