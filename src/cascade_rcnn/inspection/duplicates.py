"""Find duplicate and near-duplicate images without comparing all pairs.

Two images are near-duplicates if their difference hashes differ in at most 7 of 64 bits and their grey values (shades)
correlate. This finds resized, recompressed and brightened copies, but not mirrored or cropped ones.
"""

import math
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

BITS = 7  # of 64; then at least one of the four bands of 16 bits differs in at most one bit
_BANDS, _BAND = 4, 16
_AGREE = 0.97  # correlation of shades; measured: .995 for resized and recompressed copies, .67 for other cell images
_LIKELY, _BLOCK = 0.9, 4  # correlation of means of 4 x 4 shades that calls for comparing all shades
_PLAIN = 2.0  # standard deviation of shades below which an image is uniform, and equals others of the same shade
_SHAPES = 1.05  # largest ratio of two aspect ratios
_CROWD = 64  # images compared with each image, of those with the same band
_PAIRS = 2**20  # pairs of hashes compared at a time
_SHADES = 2**13  # pairs of images whose shades are compared at a time


class Alike(NamedTuple):
    """Groups of duplicate images, as sorted indices."""

    exact: list[list[int]]  # identical files
    near: list[list[int]]  # near-duplicates, with only the first image of each exact group


def find(digests: list[bytes], hashes: np.ndarray, shades: np.ndarray, sizes: np.ndarray) -> Alike:
    """Group N images; hashes (N,) uint64, shades (N, S) uint8, sizes (N, 2). Images without a digest are ignored."""
    first: dict[bytes, list[int]] = {}
    for i, digest in enumerate(digests):
        if digest:
            first.setdefault(digest, []).append(i)
    own = np.array([group[0] for group in first.values()], np.int64)
    near, compare = Groups(len(digests)), _Shades(shades)
    for close in _candidates(hashes[own]):
        for start in range(0, len(close[0]), _SHADES):
            a, b = (own[side[start : start + _SHADES]] for side in close)
            same = compare(a, b) & _same_shape(sizes[a], sizes[b])
            near.join(a[same], b[same])
    return Alike([group for group in first.values() if len(group) > 1], near.groups())


def versions(names: Iterable[str]) -> list[list[int]]:
    """Group files that Roboflow has made from the same image by augmentation, which only their names tell.

    >>> versions(["train/cat_jpg.rf.0a1b.jpg", "cat.jpg", "valid/cat_jpg.rf.2c3d.jpg", "dog_jpg.rf.4e5f.jpg"])
    [[0, 2]]
    """
    found: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        original, is_version, _ = re.split(r"[/\\]", name)[-1].rpartition(".rf.")
        if is_version:
            found.setdefault(original, []).append(i)
    return [group for group in found.values() if len(group) > 1]


def _candidates(hashes: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield pairs of indices whose hashes differ in at most BITS bits; some are repeated."""
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
    """Yield pairs of indices into sorted keys where the second key is the first with the bits `change` flipped."""
    wanted = keys ^ change
    low, high = np.searchsorted(keys, wanted, "left"), np.searchsorted(keys, wanted, "right")
    low = np.maximum(low, np.arange(len(keys)) + 1)  # yield each pair once
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
    """Compares images by their shades, after means of 4 x 4 shades, which nearly always decide."""

    def __init__(self, shades: np.ndarray) -> None:
        self._fine = _Compared(shades)
        side = math.isqrt(shades.shape[1])
        blocks = shades.reshape(len(shades), side // _BLOCK, _BLOCK, side // _BLOCK, _BLOCK)
        self._coarse = _Compared(blocks.mean(axis=(2, 4), dtype=np.float32).reshape(len(shades), -1))

    def __call__(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return whether images a (P,) and b (P,), given by index, show the same, (P,)."""
        agree = self._coarse.agree(a, b, _LIKELY)
        agree |= np.minimum(self._coarse.spread[a], self._coarse.spread[b]) < _PLAIN  # too uniform to decide
        rest = np.flatnonzero(agree)
        agree[rest] = self._fine.agree(a[rest], b[rest], _AGREE)
        return agree


class _Compared:
    """Values (N, S) with their mean and standard deviation, for computing correlations."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values
        mean = values.mean(axis=1, dtype=np.float64)
        square = np.einsum("ns,ns->n", values, values, dtype=np.float64) / values.shape[1]  # std() copies them
        self.mean, self.spread = mean.astype(np.float32), np.sqrt(np.maximum(square - mean**2, 0)).astype(np.float32)

    def agree(self, a: np.ndarray, b: np.ndarray, least: float) -> np.ndarray:
        """Return which pairs correlate by at least `least`, or are both uniform and of the same shade, (P,)."""
        plain = np.maximum(self.spread[a], self.spread[b]) < _PLAIN
        centred = [self.values[side] - self.mean[side, None] for side in (a, b)]
        shared = np.einsum("ps,ps->p", *centred) / self.values.shape[1]
        correlated = shared >= least * self.spread[a] * self.spread[b]
        correlated &= np.minimum(self.spread[a], self.spread[b]) >= _PLAIN
        return np.where(plain, np.abs(self.mean[a] - self.mean[b]) < _PLAIN, correlated)


def _same_shape(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    ratio = (a[:, 0] * b[:, 1]) / (a[:, 1] * b[:, 0])
    return (ratio < _SHAPES) & (ratio > 1 / _SHAPES)


class Groups:
    """Disjoint sets of the indices 0..N-1 (union-find)."""

    def __init__(self, number: int) -> None:
        self._parents = list(range(number))

    def join(self, a: np.ndarray, b: np.ndarray) -> None:
        """Join the sets of each pair of a (P,) and b (P,)."""
        for x, y in zip(a.tolist(), b.tolist(), strict=True):
            first, second = sorted((self._root(x), self._root(y)))
            self._parents[second] = first

    def _root(self, i: int) -> int:
        while self._parents[i] != i:
            self._parents[i] = i = self._parents[self._parents[i]]
        return i

    def numbers(self) -> np.ndarray:
        """Return the number of each index's set, counting from 0, (N,)."""
        return np.unique([self._root(i) for i in range(len(self._parents))], return_inverse=True)[1]

    def groups(self) -> list[list[int]]:
        """Return the sets with at least two members."""
        found: dict[int, list[int]] = {}
        for i in range(len(self._parents)):
            found.setdefault(self._root(i), []).append(i)
        return [group for group in found.values() if len(group) > 1]
