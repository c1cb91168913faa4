"""COCO's run-length encoding of masks: lengths of alternating runs of 0 and 1, column by column, and its compression.

H, W size of the image · h, w size of an object's rectangle · n runs
"""

from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray
Bounds: TypeAlias = tuple[int, int, int, int]  # x0, y0, x1, y1 (exclusive); all 0: nothing

RLE: TypeAlias = dict[str, Any]  # a mask as COCO's tools represent it: `size` (H, W) and `counts`, compressed bytes

_MOST_DIGITS = 7  # in base 32; enough for the pixels of any image
_EMPTY: Bounds = (0, 0, 0, 0)


def from_string(text: bytes) -> Array:
    """Decompress run lengths, (n,) int64. Raises ValueError, worded for users, if they are not in COCO's format.

    Numbers are in base 32, lowest digit first. A digit is a character from "0" on; 32 is added to it if more digits
    follow. The highest bit of the last digit is the sign. From the fourth number on, each is the difference from the
    number two before it.
    """
    codes = np.frombuffer(text, np.uint8).astype(np.int64) - 48
    if not codes.size:
        raise ValueError("no run lengths")
    if codes.min() < 0 or codes.max() > 63 or codes[-1] & 32:
        raise ValueError("run lengths that are not in COCO's compressed form")
    last = np.flatnonzero(codes < 32)
    begins = np.concatenate(([0], last[:-1] + 1))
    digits = last - begins + 1
    if digits.max() > _MOST_DIGITS:
        raise ValueError("run lengths beyond any image")
    places = np.arange(len(codes)) - begins.repeat(digits)
    numbers = np.add.reduceat((codes & 31) << 5 * places, begins)
    numbers -= np.where(codes[last] & 16, 1 << 5 * digits, 0)
    numbers[1::2] = numbers[1::2].cumsum()
    numbers[2::2] = numbers[2::2].cumsum()
    return numbers


def to_string(counts: Array) -> bytes:
    """Compress run lengths, (n,) int64."""
    numbers = counts.copy()
    numbers[3:] -= counts[1:-2]
    shifts = 5 * np.arange(_MOST_DIGITS)
    parts = numbers[:, None] >> shifts
    # A digit is the last if only its sign remains of the number.
    ended = (parts >> 5 == -((parts >> 4) & 1)).argmax(axis=1)[:, None]
    place = np.arange(_MOST_DIGITS)
    codes = (parts & 31) + np.where(place < ended, 32, 0) + 48
    return codes[place <= ended].astype(np.uint8).tobytes()


def check(counts: Array, height: int, width: int) -> None:
    """Raise ValueError, worded for users, unless the run lengths fit an image of this size."""
    if counts.size and counts.min() < 0:
        raise ValueError(f"a run length of {counts.min()}")
    if (total := int(counts.sum())) != height * width:
        raise ValueError(f"run lengths of {total} pixels in all, not {height * width}")


def area(counts: Array) -> int:
    """Count the pixels inside the mask."""
    return int(counts[1::2].sum())


def crop(counts: Array, height: int) -> tuple[Bounds, Array]:
    """Decode run lengths in an image of this height: the object's bounding rectangle, and its pixels (h, w) bool.

    Memory use is that of the columns that the object spans.
    """
    ends = counts.cumsum()
    starts, stops = ends[: len(ends) // 2 * 2 : 2], ends[1::2]
    real = stops > starts
    starts, stops = starts[real], stops[real]
    if not len(starts):
        return _EMPTY, np.zeros((0, 0), np.bool_)
    left, right = int(starts[0]) // height, (int(stops[-1]) - 1) // height + 1
    edges = np.empty(2 * len(starts) + 2, np.int64)
    edges[0], edges[1:-1:2], edges[2::2], edges[-1] = left * height, starts, stops, right * height
    inside = np.arange(len(edges) - 1) % 2 == 1
    columns = inside.repeat(np.diff(edges)).reshape(right - left, height)
    rows = np.flatnonzero(columns.any(axis=0))
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    return (left, top, right, bottom), columns[:, top:bottom].T


def of_mask(mask: Array) -> RLE:
    """Encode a mask (H, W) bool."""
    height, width = mask.shape
    return RLE(size=(height, width), counts=to_string(encode(mask, (0, 0, width, height), height, width)))


def encode(pixels: Array, bounds: Bounds, height: int, width: int) -> Array:
    """Encode the pixels (h, w) bool of a rectangle in an image as run lengths, (n,) int64."""
    left, top, right, bottom = bounds
    padded = np.zeros((right - left, bottom - top + 1), np.bool_)  # separates the columns by a 0
    padded[:, :-1] = pixels.T
    flat = padded.ravel()
    changes = np.flatnonzero(np.diff(flat, prepend=False))
    tall = bottom - top + 1
    places = (changes // tall + left) * height + changes % tall + top
    if len(places) and bottom - top == height:  # full-height columns are adjacent: join their runs
        joined = np.flatnonzero(places[1:-1:2] == places[2::2]) * 2 + 1
        places = np.delete(places, np.concatenate((joined, joined + 1)))
    runs = np.diff(places, prepend=0, append=height * width)
    return runs if len(runs) == 1 or runs[-1] else runs[:-1]
