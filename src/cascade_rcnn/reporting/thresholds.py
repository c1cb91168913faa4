"""Precision, recall and F1 at IoU 0.5 by score threshold."""

from typing import NamedTuple

import numpy as np

from cascade_rcnn.evaluation.coco import Array
from cascade_rcnn.evaluation.matches import Matches

GRID = np.arange(1, 100) / 100
SHOWN = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
_AT_50 = 0  # column of IoU 0.5


class Operating(NamedTuple):
    """Metrics of the detections with scores of at least `threshold`; NaN without detections or objects."""

    threshold: float
    precision: float
    recall: float
    f1: float
    detections: int  # in all images, except those matched to crowds


def operate(matches: Matches, thresholds: Array, label: int | None = None) -> list[Operating]:
    """Evaluate each threshold for one class (1..M), or for all classes together."""
    counted = _counted(matches, label)
    objects = int(matches.truth.sum() if label is None else matches.truth[:, label - 1].sum())
    every = np.sort(matches.score[counted])
    right = np.sort(matches.score[counted & matches.right[:, _AT_50]])
    found = []
    for threshold in thresholds:
        number = len(every) - int(np.searchsorted(every, threshold))
        hits = len(right) - int(np.searchsorted(right, threshold))
        precision, recall = _ratio(hits, number), _ratio(hits, objects)
        found.append(Operating(float(threshold), precision, recall, _ratio(2 * hits, number + objects), number))
    return found


def best(matches: Matches, label: int | None = None) -> Operating | None:
    """Return the metrics at the threshold with the highest F1 (the middle of ties); None if no detection is correct.

    Thresholds are steps of 0.01, and percentiles of the scores below 0.01, where those of some detectors lie.
    """
    low = matches.score[_counted(matches, label) & (matches.score < GRID[0])]
    below = np.unique(np.percentile(low, np.arange(101), method="lower")) if len(low) else low
    found = operate(matches, np.concatenate([below, GRID]), label)
    f1 = np.array([one.f1 for one in found])
    if not (f1 > 0).any():
        return None
    ties = np.flatnonzero(f1 >= f1.max() - 1e-9)
    return found[int(ties[len(ties) // 2])]


def _counted(matches: Matches, label: int | None) -> Array:
    """Return which detections (D,) of a class, or of all, are right or wrong, and not ignored."""
    mine = np.full(len(matches.score), True) if label is None else matches.label == label
    return mine & (matches.right[:, _AT_50] | matches.wrong[:, _AT_50])


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
