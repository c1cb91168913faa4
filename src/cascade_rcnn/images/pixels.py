"""Convert PIL images and arrays to RGB pixels; does not import torch."""

import warnings

import numpy as np
import PIL.Image
import PIL.ImageOps

from cascade_rcnn.errors import UserError
from cascade_rcnn.images import ccitt
from cascade_rcnn.images.orientation import recorded_orientation

NARROW = 2**13  # values below which 16-bit images use less than an eighth of their range
_BEYOND = 0.5  # floating point may overshoot 0..1, with bicubic interpolation by 0.45; other ranges go further
_STRIP = 2**22  # pixels converted at once


def from_pil(image: PIL.Image.Image, *, upright: bool = True, warn: bool = False) -> np.ndarray:
    """Convert a PIL image to uint8 RGB (H, W, 3) without transparency, `upright` with its EXIF orientation applied.

    16-bit greyscale 0..65535 is scaled to 0..255 (the high byte, as Pillow does for 16-bit colour), with `warn` with a
    warning if it is nearly black; floating point is interpreted as 0..1. Raises UserError for values in an unknown
    range.
    """
    if 0 in image.size:
        raise UserError(f"an image has size {image.size}; give one that is not empty")
    if ccitt.is_fax(image):
        ccitt.load(image)
    else:
        image.load()  # for TIFF, this applies the orientation
    kind = image.format
    if upright and recorded_orientation(image) != 1:
        image = PIL.ImageOps.exif_transpose(image)
    if image.mode[0] in "IF":
        values = np.asarray(image)
        if warn and _has_16_bits(image.mode, kind):
            warn_of_narrow_range(int(values.max()))
        return from_array(_to_bytes(values, image.mode, kind))
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # converting straight to RGB makes Pillow warn about transparency
    if image.mode == "La":  # premultiplied, which Pillow converts to nothing else
        image = image.convert("LA")
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    rows = max(1, _STRIP // max(1, image.width))
    for top in range(0, image.height, rows):  # converting the whole image at once would hold three copies of it
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        pixels[top : top + rows] = np.asarray(strip if strip.mode == "RGB" else strip.convert("RGB"))
    return pixels


def _to_bytes(values: np.ndarray, mode: str, kind: str | None) -> np.ndarray:
    if _has_16_bits(mode, kind):
        return (values >> 8).astype(np.uint8)
    low, high = float(values.min()), float(values.max())
    if mode == "F" and low >= 0 and high <= 1:
        return (values * 255 + 0.5).astype(np.uint8)
    raise UserError(
        f"an image has mode {mode} with values from {low:g} to {high:g}; with more than 8 bits per pixel, only "
        "16-bit integers (0..65535) and floating point 0..1 are supported: convert it to one of these"
    )


def _has_16_bits(mode: str, kind: str | None) -> bool:
    return mode.startswith("I;16") or (mode == "I" and kind in ("PNG", "PPM"))  # which scale to 16 bits


def is_dark(image: PIL.Image.Image) -> bool:
    """Return whether an image in 16-bit greyscale is read as nearly black."""
    return 0 < (peak(image) or 0) < NARROW


def peak(image: PIL.Image.Image) -> int | None:
    """Return the largest value of an image in 16-bit greyscale, None for any other."""
    return int(np.asarray(image).max()) if _has_16_bits(image.mode, image.format) else None


def from_array(image: np.ndarray) -> np.ndarray:
    """Convert an array (H, W) or (H, W, 1 | 3 | 4) to RGB (H, W, 3), uint8 0..255 or float32 0..1, without alpha.

    uint8 is kept, uint16 is interpreted as 0..65535, floating point as 0..1. Raises UserError for anything else.
    """
    array = image[..., None] if image.ndim == 2 else image
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or 0 in array.shape:
        raise UserError(f"an image array has shape {image.shape}; give (height, width, 3) in RGB order, not empty")
    array = np.repeat(array, 3, axis=2) if array.shape[2] == 1 else array[..., :3]
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.uint16:
        warn_of_narrow_range(int(array.max()))
        return array.astype(np.float32) / 65535
    if not np.issubdtype(array.dtype, np.floating):
        raise UserError(f"an image array has dtype {array.dtype}; give uint8, uint16, or floating point 0..1")
    check_range(f"an image array of {array.dtype}", float(array.min()), float(array.max()))
    return array.astype(np.float32, copy=False)


def warn_of_narrow_range(peak: int) -> None:
    """Warn if the largest value of a uint16 image is that of 13 bits or less."""
    if 0 < peak < NARROW:
        warnings.warn(
            "an image of 16 bits uses less than an eighth of the range 0..65535, and is read as nearly black; if it "
            "was recorded with 8, 10 or 12 bits, multiply it by 256, 64 or 16",
            stacklevel=2,
        )


def check_range(image: str, low: float, high: float) -> None:
    """Raise UserError unless floating-point values `low` to `high` are 0..1, up to an overshoot; NaN are not."""
    if not (low >= -_BEYOND and high <= 1 + _BEYOND):
        raise UserError(
            f"{image} has values from {low:g} to {high:g}; give 0..1, or uint8 (the model normalises images itself)"
        )
