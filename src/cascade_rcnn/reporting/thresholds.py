"""Precision, recall and F1 by score threshold."""

from typing import NamedTuple

import numpy as np

from cascade_rcnn.evaluation.coco import Array
from cascade_rcnn.evaluation.matches import Matches

GRID = np.arange(1, 100) / 100
SHOWN = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
_AT_50, _AT_75 = 0, 5  # columns of IoU 0.5 and 0.75


class Operating(NamedTuple):
    """Metrics of the detections with scores of at least `threshold`, at IoU 0.5; NaN without detections or objects."""

    threshold: float
    precision: float
    recall: float
    f1: float
    detections: int  # in all images, except those matched to crowds
    precision75: float  # at IoU 0.75
    recall75: float


def operate(matches: Matches, thresholds: Array, label: int | None = None) -> list[Operating]:
    """Evaluate each threshold for one class (1..M), or for all classes together."""
    objects = int(matches.truth.sum() if label is None else matches.truth[:, label - 1].sum())
    number, hits = _count(matches, thresholds, label, _AT_50)
    number75, hits75 = _count(matches, thresholds, label, _AT_75)
    return [
        Operating(
            threshold=float(threshold),
            precision=_ratio(hits[k], number[k]),
            recall=_ratio(hits[k], objects),
            f1=_ratio(2 * hits[k], number[k] + objects),
            detections=int(number[k]),
            precision75=_ratio(hits75[k], number75[k]),
            recall75=_ratio(hits75[k], objects),
        )
        for k, threshold in enumerate(thresholds)
    ]


def best(matches: Matches, label: int | None = None) -> Operating | None:
    """Return the metrics at the threshold with the highest F1 (the middle of ties); None if no detection is correct.

    Thresholds are steps of 0.01, and percentiles of the scores below 0.01, where those of some detectors lie.
    """
    low = matches.score[_counted(matches, label, _AT_50) & (matches.score < GRID[0])]
    below = np.unique(np.percentile(low, np.arange(101), method="lower")) if len(low) else low
    found = operate(matches, np.concatenate([below, GRID]), label)
    f1 = np.array([one.f1 for one in found])
    if not (f1 > 0).any():
        return None
    ties = np.flatnonzero(f1 >= f1.max() - 1e-9)
    return found[int(ties[len(ties) // 2])]


def _count(matches: Matches, thresholds: Array, label: int | None, column: int) -> tuple[Array, Array]:
    """Count the detections with at least each score, and those of them that are right at the IoU of the column."""
    counted = _counted(matches, label, column)
    every = np.sort(matches.score[counted])
    right = np.sort(matches.score[counted & matches.right[:, column]])
    return len(every) - np.searchsorted(every, thresholds), len(right) - np.searchsorted(right, thresholds)


def _counted(matches: Matches, label: int | None, column: int) -> Array:
    """Return which detections (D,) of a class, or of all, are right or wrong, and not ignored."""
    mine = np.full(len(matches.score), True) if label is None else matches.label == label
    return mine & (matches.right[:, column] | matches.wrong[:, column])


def _ratio(part: int, whole: int) -> float:
    return float(part / whole) if whole else float("nan")
