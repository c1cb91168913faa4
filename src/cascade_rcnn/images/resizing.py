"""Image resizing in NumPy, and the target sizes, which `models/preprocess.py` shares."""

from collections.abc import Iterable, Sequence

import numpy as np


def resized_size(height: int, width: int, shortest: int, longest: int, round_down: bool = False) -> tuple[int, int]:
    """Return height and width after scaling the short side to `shortest` and the long side to at most `longest`."""
    scale = min(shortest / min(height, width), longest / max(height, width))
    half = 0.0 if round_down else 0.5
    return max(1, int(height * scale + half)), max(1, int(width * scale + half))


def padded_size(sizes: Iterable[Sequence[int]], divisor: int, square: int | None = None) -> tuple[int, int]:
    """Return the height and width, multiples of `divisor`, to which images (height, width, ...) are padded.

    With `square`, they are equal and at least this large.
    """
    height, width = (max(lengths) for lengths in zip(*(size[:2] for size in sizes), strict=True))
    if square is not None:
        height = width = max(height, width, square)
    return -(-height // divisor) * divisor, -(-width // divisor) * divisor


def resize(image: np.ndarray, size: tuple[int, int], antialias: bool = False) -> np.ndarray:
    """Resize bilinearly with half-pixel centres, like torch's `interpolate`: (H, W, C) -> float32 (*size, C)."""
    rows = _interpolate(image.astype(np.float32), size[0], antialias)
    return _interpolate(rows.swapaxes(0, 1), size[1], antialias).swapaxes(0, 1)


def _interpolate(image: np.ndarray, length: int, antialias: bool) -> np.ndarray:
    """Interpolate along the first axis: (N, ...) -> (length, ...)."""
    number = len(image)
    if length == number:
        return image
    scale = np.float32(number / length)
    centre = (np.arange(length, dtype=np.float32) + np.float32(0.5)) * scale
    if antialias and scale > 1:  # downscaling: a triangle filter two source steps wide (Pillow's bilinear)
        distance = np.abs(np.arange(number) + 0.5 - centre[:, None]) / scale
        weight = np.maximum(1 - distance, 0)
        weight = (weight / weight.sum(axis=1, keepdims=True)).astype(np.float32)
        return np.tensordot(weight, image, axes=1)
    position = np.maximum(centre - np.float32(0.5), 0)
    first = np.minimum(position.astype(np.int64), number - 1)
    fraction = (position - first.astype(np.float32)).reshape(-1, *(1 for _ in image.shape[1:]))
    return image[first] * (1 - fraction) + image[np.minimum(first + 1, number - 1)] * fraction
