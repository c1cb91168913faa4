"""Calibration of scores: are 80 % of the detections with score 0.8 correct?"""

from typing import NamedTuple

import numpy as np

from cascade_rcnn.reporting.evidence import Evidence

LOWEST = 0.05  # the many detections below, which nobody looks at, would outweigh all others


class Bin(NamedTuple):
    """A bin of detections with similar scores."""

    low: float
    high: float
    score: float  # mean
    precision: float  # fraction that is correct at IoU 0.5
    detections: int


class Calibration(NamedTuple):
    """Mean score against precision."""

    error: float  # expected calibration error: the mean gap, weighted by detections; NaN without detections
    bias: float  # mean score minus precision: positive if scores are too high
    bins: list[Bin]


def calibration(evidence: Evidence) -> Calibration:
    """Measure calibration in ten bins for scores of 0.05 and more, ignoring crowds."""
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
