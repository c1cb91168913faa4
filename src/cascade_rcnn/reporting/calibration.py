"""Whether scores are what they look like: of detections with score 0.8, are 80 % right?"""

from typing import NamedTuple

import numpy as np

from cascade_rcnn.reporting.evidence import Evidence

LOWEST = 0.05  # below it lie the many detections that nobody looks at, which would outweigh all others


class Bin(NamedTuple):
    """Detections of about the same score."""

    low: float
    high: float
    score: float  # mean
    precision: float  # share that is right at IoU 0.5
    detections: int


class Calibration(NamedTuple):
    """Mean score against precision."""

    error: float  # expected calibration error: the mean gap, weighted by detections; NaN without detections
    bias: float  # mean score minus precision: positive where scores are too high
    bins: list[Bin]


def calibration(evidence: Evidence) -> Calibration:
    """Measure in ten bins of the score, for detections of 0.05 and more; crowds do not count."""
    rows = evidence.pairs.row[evidence.pairs.matches.score >= LOWEST]
    found = evidence.evaluator(rows).calibration(n_bins=10, iou_threshold=0.5)
    bins = [
        Bin(one["bin_lower"], one["bin_upper"], one["avg_confidence"], one["avg_accuracy"], int(one["count"]))
        for one in found["bins"]
        if one["count"]
    ]
    if not bins:
        return Calibration(float("nan"), float("nan"), [])
    weights = np.array([one.detections for one in bins])
    gaps = np.array([one.score - one.precision for one in bins])
    return Calibration(float(found["ece"]), float((weights * gaps).sum() / weights.sum()), bins)
