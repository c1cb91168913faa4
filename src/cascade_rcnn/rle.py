"""COCO's run lengths of masks: the lengths of runs of 0 and 1 in turn, column by column, and their compressed form.

H, W of the image · h, w of an object's rectangle · n runs
"""

from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray
Bounds: TypeAlias = tuple[int, int, int, int]  # x0, y0, x1, y1 (exclusive); all 0: nothing

RLE: TypeAlias = dict[str, Any]  # as COCO's tools hold a mask: size (H, W), and counts, compressed bytes

_MOST_DIGITS = 7  # base 32, which is beyond the pixels of any image
_EMPTY: Bounds = (0, 0, 0, 0)


def from_string(text: bytes) -> Array:
    """Decompress run lengths, (n,) int64. Raises ValueError, in words for a user, if they are not in COCO's form.

    Numbers in base 32, lowest digit first, each digit a character from "0" on, to which 32 is added if more follow. The
    highest bit of the last digit is the sign; from the fourth number on, they are differences from the last but one.
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
    # A digit is the last if nothing but its sign is left of the number.
    ended = (parts >> 5 == -((parts >> 4) & 1)).argmax(axis=1)[:, None]
    place = np.arange(_MOST_DIGITS)
    codes = (parts & 31) + np.where(place < ended, 32, 0) + 48
    return codes[place <= ended].astype(np.uint8).tobytes()


def check(counts: Array, height: int, width: int) -> None:
    """Raise ValueError, in words for a user, unless the run lengths are those of an image of this size."""
    if counts.size and counts.min() < 0:
        raise ValueError(f"a run length of {counts.min()}")
    if (total := int(counts.sum())) != height * width:
        raise ValueError(f"run lengths of {total} pixels in all, not {height * width}")


def area(counts: Array) -> int:
    """Count the pixels inside."""
    return int(counts[1::2].sum())


def crop(counts: Array, height: int) -> tuple[Bounds, Array]:
    """Decode run lengths in an image of this height: the smallest rectangle that holds the object, and its pixels.

    Takes the memory of the columns that the object reaches over; returns (h, w) bool.
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


def encode(pixels: Array, bounds: Bounds, height: int, width: int) -> Array:
    """Encode the pixels (h, w) bool of a rectangle of an image as run lengths, (n,) int64."""
    left, top, right, bottom = bounds
    padded = np.zeros((right - left, bottom - top + 1), np.bool_)  # a 0 between the columns
    padded[:, :-1] = pixels.T
    flat = padded.ravel()
    changes = np.flatnonzero(np.diff(flat, prepend=False))
    tall = bottom - top + 1
    places = (changes // tall + left) * height + changes % tall + top
    if len(places) and bottom - top == height:  # columns follow each other without a 0 between: join their runs
        joined = np.flatnonzero(places[1:-1:2] == places[2::2]) * 2 + 1
        places = np.delete(places, np.concatenate((joined, joined + 1)))
    runs = np.diff(places, prepend=0, append=height * width)
    return runs if len(runs) == 1 or runs[-1] else runs[:-1]
