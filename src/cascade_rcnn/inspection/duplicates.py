"""Images that are the same file, or show the same: found without comparing all pairs.

Two images show the same if their difference hashes are at most 7 of 64 bits apart and their shades agree. That holds
for a picture that was resized, compressed anew or made brighter, and not for one that was mirrored or cropped.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

BITS = 7  # of 64; with four bands of 16 bits, one of them differs in a single bit at most
_BANDS, _BAND = 4, 16
_AGREE = 0.97  # correlation of shades. Measured: copies resized and compressed anew .995, other pictures of cells .67
_PLAIN = 2.0  # shades; below it an image is of one shade, and any other of that shade shows the same
_SHAPES = 1.05  # ratio of width / height
_CROWD = 64  # of those alike in a band, so many are compared with each
_PAIRS = 2**20  # of hashes, compared at a time
_SHADES = 2**13  # ... and of shades


class Alike(NamedTuple):
    """Groups of images by index, each in order."""

    exact: list[list[int]]  # the same file
    near: list[list[int]]  # they show the same; of each exact group only the first image


def find(digests: list[bytes], hashes: np.ndarray, shades: np.ndarray, sizes: np.ndarray) -> Alike:
    """Group N images; hashes (N,) uint64, shades (N, S) uint8, sizes (N, 2). Those without a digest are left out."""
    first: dict[bytes, list[int]] = {}
    for i, digest in enumerate(digests):
        if digest:
            first.setdefault(digest, []).append(i)
    own = np.array([group[0] for group in first.values()], np.int64)
    near = _Groups(len(digests))
    for close in _candidates(hashes[own]):
        for start in range(0, len(close[0]), _SHADES):
            a, b = (own[side[start : start + _SHADES]] for side in close)
            same = _same(shades[a], shades[b]) & _same_shape(sizes[a], sizes[b])
            near.join(a[same], b[same])
    return Alike([group for group in first.values() if len(group) > 1], near.groups())


def _candidates(hashes: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield pairs of positions whose hashes are at most BITS apart; some more than once."""
    for band in range(_BANDS):
        keys = (hashes >> np.uint64(band * _BAND)).astype(np.uint16)
        order = np.lexsort((hashes, keys))
        keys = keys[order]
        for change in (0, *(1 << bit for bit in range(_BAND))):
            for a, b in _with(keys, np.uint16(change)):
                a, b = order[a], order[b]
                close = np.bitwise_count(hashes[a] ^ hashes[b]) <= BITS
                if close.any():
                    yield a[close], b[close]


def _with(keys: np.ndarray, change: np.uint16) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield pairs of positions in sorted keys, the second key being the first with these bits changed."""
    wanted = keys ^ change
    low, high = np.searchsorted(keys, wanted, "left"), np.searchsorted(keys, wanted, "right")
    low = np.maximum(low, np.arange(len(keys)) + 1)  # each pair once
    lengths = np.clip(high - low, 0, _CROWD)
    ends = lengths.cumsum()
    start = 0
    while start < len(keys):
        done = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, done + _PAIRS, "right")))
        part = lengths[start:stop]
        a = np.repeat(np.arange(start, stop), part)
        within = np.arange(len(a)) - np.repeat(part.cumsum() - part, part)
        yield a, low[a] + within
        start = stop


def _same(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return whether shades (P, S) agree, (P,): up to brightness and contrast, or exactly in images of one shade."""
    a, b = a.astype(np.float32), b.astype(np.float32)
    level = np.abs(a.mean(axis=1) - b.mean(axis=1))
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    spread_a, spread_b = a.std(axis=1), b.std(axis=1)
    plain = np.maximum(spread_a, spread_b) < _PLAIN
    correlation = (a * b).mean(axis=1) / np.maximum(spread_a * spread_b, 1e-6)
    return np.where(plain, level < _PLAIN, (correlation >= _AGREE) & (np.minimum(spread_a, spread_b) >= _PLAIN))


def _same_shape(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    ratio = (a[:, 0] * b[:, 1]) / (a[:, 1] * b[:, 0])
    return (ratio < _SHAPES) & (ratio > 1 / _SHAPES)


class _Groups:
    """Indices 0..N-1, joined in pairs."""

    def __init__(self, number: int) -> None:
        self._parents = list(range(number))

    def join(self, a: np.ndarray, b: np.ndarray) -> None:
        for x, y in zip(a.tolist(), b.tolist(), strict=True):
            first, second = sorted((self._root(x), self._root(y)))
            self._parents[second] = first

    def _root(self, i: int) -> int:
        while self._parents[i] != i:
            self._parents[i] = i = self._parents[self._parents[i]]
        return i

    def groups(self) -> list[list[int]]:
        """Return those of two and more."""
        found: dict[int, list[int]] = {}
        for i in range(len(self._parents)):
            found.setdefault(self._root(i), []).append(i)
        return [group for group in found.values() if len(group) > 1]
