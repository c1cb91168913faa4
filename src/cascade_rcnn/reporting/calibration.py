"""Calibration of scores: are 80 % of the detections with score 0.8 correct?"""

from typing import NamedTuple

import numpy as np

from cascade_rcnn.reporting.evidence import Evidence

LOWEST = 0.05  # the many detections with lower scores would outweigh all others


class Bin(NamedTuple):
    """Detections with scores in one interval."""

    low: float
    high: float
    score: float  # mean
    precision: float  # fraction of correct detections at IoU 0.5
    detections: int


class Calibration(NamedTuple):
    """Mean score compared with precision, overall and by score."""

    error: float  # expected calibration error: mean gap weighted by the number of detections; NaN without any
    bias: float  # mean score minus precision: positive if scores are too high
    bins: list[Bin]


def calibration(evidence: Evidence) -> Calibration:
    """Measure calibration in ten bins for scores of at least 0.05, ignoring crowds."""
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
