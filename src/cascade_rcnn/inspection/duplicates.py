"""Duplicate and near-duplicate images, found without comparing all pairs.

Two images show the same if their difference hashes are at most 7 of 64 bits apart and their shades agree. That holds
for a picture that was resized, compressed anew or made brighter, and not for one that was mirrored or cropped.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

BITS = 7  # of 64; with four bands of 16 bits, one of them differs in a single bit at most
_BANDS, _BAND = 4, 16
_AGREE = 0.97  # correlation of shades. Measured: copies resized and compressed anew .995, other pictures of cells .67
_LIKELY, _BLOCK = 0.9, 4  # ... of means of 4 x 4 shades, below which they are not compared one by one
_PLAIN = 2.0  # shades; below it an image is of one shade, and any other of that shade shows the same
_SHAPES = 1.05  # ratio of width / height
_CROWD = 64  # of those alike in a band, so many are compared with each
_PAIRS = 2**20  # of hashes, compared at a time
_SHADES = 2**13  # ... and of shades


class Alike(NamedTuple):
    """Groups of images by index, each in order."""

    exact: list[list[int]]  # identical files
    near: list[list[int]]  # near-duplicates; only the first image of each exact group


def find(digests: list[bytes], hashes: np.ndarray, shades: np.ndarray, sizes: np.ndarray) -> Alike:
    """Group N images; hashes (N,) uint64, shades (N, S) uint8, sizes (N, 2). Those without a digest are left out."""
    first: dict[bytes, list[int]] = {}
    for i, digest in enumerate(digests):
        if digest:
            first.setdefault(digest, []).append(i)
    own = np.array([group[0] for group in first.values()], np.int64)
    near, compare = _Groups(len(digests)), _Shades(shades)
    for close in _candidates(hashes[own]):
        for start in range(0, len(close[0]), _SHADES):
            a, b = (own[side[start : start + _SHADES]] for side in close)
            same = compare(a, b) & _same_shape(sizes[a], sizes[b])
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


class _Shades:
    """Compares pictures by their shades: all of them, but first means of 4 x 4, which nearly always decide."""

    def __init__(self, shades: np.ndarray) -> None:
        self._fine = _Compared(shades)
        side = math.isqrt(shades.shape[1])
        blocks = shades.reshape(len(shades), side // _BLOCK, _BLOCK, side // _BLOCK, _BLOCK)
        self._coarse = _Compared(blocks.mean(axis=(2, 4), dtype=np.float32).reshape(len(shades), -1))

    def __call__(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return whether pictures a (P,) and b (P,), by index, agree, (P,)."""
        agree = self._coarse.agree(a, b, _LIKELY)
        agree |= np.minimum(self._coarse.spread[a], self._coarse.spread[b]) < _PLAIN  # which do not decide
        rest = np.flatnonzero(agree)
        agree[rest] = self._fine.agree(a[rest], b[rest], _AGREE)
        return agree


class _Compared:
    """Values (N, S) with their mean and spread."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values
        mean = values.mean(axis=1, dtype=np.float64)
        square = np.einsum("ns,ns->n", values, values, dtype=np.float64) / values.shape[1]  # std() would copy them all
        self.mean, self.spread = mean.astype(np.float32), np.sqrt(np.maximum(square - mean**2, 0)).astype(np.float32)

    def agree(self, a: np.ndarray, b: np.ndarray, least: float) -> np.ndarray:
        """Return whether they correlate, up to brightness and contrast, or are both of one shade, and that the same."""
        plain = np.maximum(self.spread[a], self.spread[b]) < _PLAIN
        centred = [self.values[side] - self.mean[side, None] for side in (a, b)]
        shared = np.einsum("ps,ps->p", *centred) / self.values.shape[1]
        correlated = shared >= least * self.spread[a] * self.spread[b]
        correlated &= np.minimum(self.spread[a], self.spread[b]) >= _PLAIN
        return np.where(plain, np.abs(self.mean[a] - self.mean[b]) < _PLAIN, correlated)


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
