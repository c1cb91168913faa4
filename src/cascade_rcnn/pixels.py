"""From an image file to the array a network sees, in numpy and Pillow alone.

What `models/preprocess.py` does with torch, for the runtime that has none; both share the rule of sizes.
"""

from pathlib import Path
from typing import IO

import numpy as np
import PIL.Image
import PIL.ImageOps

from cascade_rcnn.errors import UserError

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
_BEYOND = 1.0  # floating point may leave 0..1 a little (filters ring); 0..255 is another unit


def read_pixels(path: str | Path | IO[bytes]) -> np.ndarray:
    """Decode a file, or an open one, into uint8 RGB (H, W, 3), upright (EXIF orientation applied).

    Raises UserError naming the file when it is missing or does not decode.
    """
    try:
        with PIL.Image.open(path) as image:
            return from_pil(image)
    except FileNotFoundError:
        raise UserError(f"{path}: no such image; check the path and the images folder") from None
    except (OSError, SyntaxError, ValueError, PIL.Image.DecompressionBombError) as error:
        name = path if isinstance(path, str | Path) else getattr(path, "name", "the bytes given")
        raise UserError(f"{name}: this image does not open ({error}); replace it or remove it from the list") from None


def from_pil(image: PIL.Image.Image) -> np.ndarray:
    """A PIL image -> uint8 RGB (H, W, 3), upright. Raises UserError for more than 8 bits a pixel."""
    if image.mode.startswith(("I", "F")):  # 16 or 32 bits a pixel: Pillow would clip at 255, mostly to white
        raise UserError(f"an image has mode {image.mode}, more than 8 bits a pixel; scale its values to 8 bits first")
    return np.array(PIL.ImageOps.exif_transpose(image).convert("RGB"))


def from_array(image: np.ndarray) -> np.ndarray:
    """An array (H, W) or (H, W, 1 | 3 | 4) -> RGB (H, W, 3), uint8 0..255 or float32 0..1, without alpha.

    uint8 stays as it is, uint16 is taken as 0..65535, floating point as 0..1. Raises UserError for anything else.
    """
    array = image[..., None] if image.ndim == 2 else image
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or 0 in array.shape:
        raise UserError(f"an image array has shape {image.shape}; give (height, width, 3) in RGB order, not empty")
    array = np.repeat(array, 3, axis=2) if array.shape[2] == 1 else array[..., :3]
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.uint16:
        return array.astype(np.float32) / 65535
    if not np.issubdtype(array.dtype, np.floating):
        raise UserError(f"an image array has dtype {array.dtype}; give uint8, uint16, or floating point 0..1")
    if not (array.min() >= -_BEYOND and array.max() <= 1 + _BEYOND):
        raise UserError(
            f"an image array of {array.dtype} holds values {array.min():g} to {array.max():g}; give 0..1, or uint8"
        )
    return array.astype(np.float32, copy=False)


def resized_size(height: int, width: int, shortest: int, longest: int, round_down: bool = False) -> tuple[int, int]:
    """Height and width after scaling the short side to `shortest`, the long side to at most `longest`."""
    scale = min(shortest / min(height, width), longest / max(height, width))
    half = 0.0 if round_down else 0.5
    return max(1, int(height * scale + half)), max(1, int(width * scale + half))


def resize(image: np.ndarray, size: tuple[int, int], antialias: bool = False) -> np.ndarray:
    """Bilinear, with half-pixel centres, as torch's `interpolate`: (H, W, C) -> float32 (*size, C)."""
    rows = _interpolate(image.astype(np.float32), size[0], antialias)
    return _interpolate(rows.swapaxes(0, 1), size[1], antialias).swapaxes(0, 1)


def _interpolate(image: np.ndarray, length: int, antialias: bool) -> np.ndarray:
    """Along the first axis: (N, ...) -> (length, ...)."""
    number = len(image)
    if length == number:
        return image
    scale = np.float32(number / length)
    centre = (np.arange(length, dtype=np.float32) + np.float32(0.5)) * scale
    if antialias and scale > 1:  # shrinking: a triangle as wide as two source steps (Pillow's bilinear)
        distance = np.abs(np.arange(number) + 0.5 - centre[:, None]) / scale
        weight = np.maximum(1 - distance, 0)
        weight = (weight / weight.sum(axis=1, keepdims=True)).astype(np.float32)
        return np.tensordot(weight, image, axes=1)
    position = np.maximum(centre - np.float32(0.5), 0)
    first = np.minimum(position.astype(np.int64), number - 1)
    fraction = (position - first.astype(np.float32)).reshape(-1, *(1 for _ in image.shape[1:]))
    return image[first] * (1 - fraction) + image[np.minimum(first + 1, number - 1)] * fraction
