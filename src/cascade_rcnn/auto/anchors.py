"""Anchors that fit boxes: the share of boxes covered, and anchors that cover more."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

IOU = 0.5
# The usual anchors cover 83 to 87 % of COCO's boxes at 800 pixels, which is enough there.
ENOUGH = 0.8
_FACTORS = sorted((2 ** (k / 2) for k in range(-4, 5)), key=lambda factor: abs(np.log(factor)))  # 1/4 to 4


class Anchors(NamedTuple):
    """Anchors, and the share (0..1) of boxes that they cover."""

    sizes: tuple[int, ...]
    ratios: tuple[float, ...]  # height / width
    share: float


def coverage(shapes: np.ndarray, sizes: Sequence[float], ratios: Sequence[float]) -> float:
    """Compute the share of boxes (A, 2), widths and heights, that a centred anchor covers with IoU 0.5 or more."""
    return float((best_iou(shapes, sizes, ratios) >= IOU).mean())


def best_iou(shapes: np.ndarray, sizes: Sequence[float], ratios: Sequence[float]) -> np.ndarray:
    """Compute the IoU (A,) of boxes (A, 2), widths and heights, with the centred anchor that fits each best."""
    root = np.sqrt(np.asarray(ratios, np.float64))
    anchors = np.stack((np.divide.outer(sizes, root), np.multiply.outer(sizes, root)), axis=-1).reshape(-1, 2)
    best = np.zeros(len(shapes))
    for anchor in anchors:  # one at a time: there may be a million boxes
        common = np.minimum(shapes, anchor).prod(axis=1)
        best = np.maximum(best, common / (shapes.prod(axis=1) + anchor.prod() - common))
    return best


def fitting(shapes: np.ndarray, sizes: tuple[int, ...], ratios: tuple[float, ...]) -> Anchors:
    """Return the given anchors if they cover enough boxes, else the closest that do, or those that cover most.

    Tries, in this order: scaling all sizes by one factor, as many ratios taken from the boxes, and more ratios.
    """
    best = Anchors(sizes, ratios, coverage(shapes, sizes, ratios))
    for tried in _candidates(shapes, sizes, ratios):
        if best.share >= ENOUGH:
            break
        found = Anchors(*tried, coverage(shapes, *tried))
        best = max(best, found, key=lambda anchors: anchors.share)  # the first of equals
    return best


def _candidates(
    shapes: np.ndarray, sizes: tuple[int, ...], ratios: tuple[float, ...]
) -> Iterator[tuple[tuple[int, ...], tuple[float, ...]]]:
    own = [_quantiles(shapes[:, 1] / shapes[:, 0], number) for number in sorted({len(ratios), 5, 7})]
    for tried in (ratios, *(those for those in own if len(those) >= len(ratios))):
        for factor in _FACTORS:
            yield tuple(max(4, round(size * factor)) for size in sizes), tried


def _quantiles(values: np.ndarray, number: int) -> tuple[float, ...]:
    """Return the medians of `number` equally large groups of values, to two digits."""
    return tuple(float(f"{x:.2g}") for x in np.quantile(values, (np.arange(number) + 0.5) / number))
