"""Anything a user calls an image -> a uint8 RGB tensor (3, H, W)."""

from pathlib import Path
from typing import TypeAlias

import numpy as np
import PIL.Image
import PIL.ImageOps
import torch
from torch import Tensor

from cascade_rcnn.errors import UserError

ImageLike: TypeAlias = str | Path | PIL.Image.Image | np.ndarray | Tensor

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})


def read_image(path: str | Path) -> Tensor:
    """Decode a file into uint8 RGB (3, H, W), upright (EXIF orientation applied).

    Raises UserError naming the file when it is missing or does not decode.
    """
    try:
        with PIL.Image.open(path) as image:
            return _from_pil(image)
    except FileNotFoundError:
        raise UserError(f"{path}: no such image; check the path and the images folder") from None
    except (OSError, SyntaxError, ValueError, PIL.Image.DecompressionBombError) as error:
        raise UserError(f"{path}: this image does not open ({error}); replace it or remove it from the list") from None


def to_tensor(image: ImageLike) -> Tensor:
    """A path, PIL image, numpy array (H, W, 3) or (H, W) RGB, or tensor (3, H, W) -> tensor (3, H, W).

    uint8 stays uint8 (0..255); floating point is taken as 0..1, as torchvision's detectors take it.
    """
    match image:
        case str() | Path():
            return read_image(image)
        case PIL.Image.Image():
            return _from_pil(image)
        case np.ndarray():
            array = np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image
            if array.ndim != 3 or array.shape[2] != 3:
                raise UserError(f"an image array has shape {image.shape}; give (height, width, 3) in RGB order")
            return _check(torch.from_numpy(np.array(array, order="C")).permute(2, 0, 1))  # PIL's arrays are read-only
        case Tensor():
            return _check(image)
        case _:
            raise UserError(f"an image is of type {type(image).__name__}; give a path, PIL image, array or tensor")


def _from_pil(image: PIL.Image.Image) -> Tensor:
    if image.mode.startswith(("I", "F")):  # 16 or 32 bits a pixel: Pillow would clip at 255, mostly to white
        raise UserError(f"an image has mode {image.mode}, more than 8 bits a pixel; scale its values to 8 bits first")
    upright = PIL.ImageOps.exif_transpose(image).convert("RGB")
    return torch.from_numpy(np.array(upright)).permute(2, 0, 1)


def _check(image: Tensor) -> Tensor:
    if image.ndim != 3 or image.shape[0] != 3 or 0 in image.shape:
        raise UserError(f"an image tensor has shape {tuple(image.shape)}; give (3, height, width), not empty")
    if image.dtype != torch.uint8 and not image.is_floating_point():
        raise UserError(f"an image has dtype {image.dtype}; give uint8 (0..255) or floating point (0..1)")
    return image
