"""Coverage of boxes by anchors, and the search for anchors that cover more."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

IOU = 0.5
# Share of boxes to cover; the usual anchors cover 83 to 87 % of COCO's boxes at 800 pixels.
ENOUGH = 0.8
_FACTORS = sorted((2 ** (k / 2) for k in range(-4, 5)), key=lambda factor: abs(np.log(factor)))  # 1/4 to 4


class Anchors(NamedTuple):
    """Anchors, and the share of boxes (0 to 1) that they cover."""

    sizes: tuple[int, ...]  # square root of the area, in pixels
    ratios: tuple[float, ...]  # height / width
    share: float


def coverage(shapes: np.ndarray, sizes: Sequence[float], ratios: Sequence[float]) -> float:
    """Compute the share of boxes (A, 2), as widths and heights, that have a centred anchor of IoU 0.5."""
    return float((best_iou(shapes, sizes, ratios) >= IOU).mean())


def best_iou(shapes: np.ndarray, sizes: Sequence[float], ratios: Sequence[float]) -> np.ndarray:
    """Compute the IoU (A,) of boxes (A, 2), as widths and heights, with the best centred anchor of each."""
    root = np.sqrt(np.asarray(ratios, np.float64))
    anchors = np.stack((np.divide.outer(sizes, root), np.multiply.outer(sizes, root)), axis=-1).reshape(-1, 2)
    best = np.zeros(len(shapes))
    for anchor in anchors:  # one at a time, as there may be a million boxes
        common = np.minimum(shapes, anchor).prod(axis=1)
        best = np.maximum(best, common / (shapes.prod(axis=1) + anchor.prod() - common))
    return best


def extents(shapes: np.ndarray) -> np.ndarray:
    """Compute one size for each box (A, 2), (A,): the square root of its area, or twice its short side if that is less.

    The latter is the case for boxes longer than 4:1, whose IoU depends on the pixels across.
    """
    return np.minimum(np.sqrt(shapes.prod(axis=1)), 2 * shapes.min(axis=1))


def fitting(shapes: np.ndarray, sizes: tuple[int, ...], ratios: tuple[float, ...]) -> Anchors:
    """Return the given anchors if they cover enough boxes, else the first candidates that do, or the best ones.

    The candidates scale all sizes by a common factor, with the given ratios, then as many ratios computed from the
    boxes (A, 2), then more ratios.
    """
    best = Anchors(sizes, ratios, coverage(shapes, sizes, ratios))
    for tried in _candidates(shapes, sizes, ratios):
        if best.share >= ENOUGH:
            break
        found = Anchors(*tried, coverage(shapes, *tried))
        best = max(best, found, key=lambda anchors: anchors.share)  # the first one in a tie
    return best


def _candidates(
    shapes: np.ndarray, sizes: tuple[int, ...], ratios: tuple[float, ...]
) -> Iterator[tuple[tuple[int, ...], tuple[float, ...]]]:
    own = [_quantiles(shapes[:, 1] / shapes[:, 0], number) for number in sorted({len(ratios), 5, 7})]
    for tried in (ratios, *(those for those in own if len(those) >= len(ratios))):
        for factor in _FACTORS:
            yield tuple(max(4, round(size * factor)) for size in sizes), tried


def _quantiles(values: np.ndarray, number: int) -> tuple[float, ...]:
    """Return the medians of `number` equally large groups of the values, rounded to two digits."""
    return tuple(float(f"{x:.2g}") for x in np.quantile(values, (np.arange(number) + 0.5) / number))
