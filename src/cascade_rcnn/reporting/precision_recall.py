"""Precision-recall curves, averaged over classes."""

from typing import NamedTuple

import numpy as np

from cascade_rcnn.evaluation.metrics import IOU_THRESHOLDS
from cascade_rcnn.reporting.evidence import Evidence

IOUS = (0.5, 0.75, 0.9)


class PrecisionRecall(NamedTuple):
    """Precision at 101 recall levels; NaN without objects."""

    iou: float
    recall: list[float]
    precision: list[float]


def precision_recall(evidence: Evidence) -> list[PrecisionRecall]:
    """Compute the curves at IoU 0.5, 0.75 and 0.9; the mean of each is COCO's AP at that IoU."""
    evaluation = evidence.evaluator()
    evaluation.accumulate()
    results = evaluation.eval
    assert results is not None  # accumulate() sets it
    precision = np.where(results["precision"] > -1, results["precision"], np.nan)[..., 0, -1]  # (10, 101, M)
    known = ~np.isnan(precision).all(axis=(0, 1))
    recall = np.linspace(0, 1, 101)
    curves = [precision[IOU_THRESHOLDS.index(iou)][:, known] for iou in IOUS]
    mean = [curve.mean(axis=1) if known.any() else np.full(101, np.nan) for curve in curves]
    return [PrecisionRecall(iou, recall.tolist(), one.tolist()) for iou, one in zip(IOUS, mean, strict=True)]
