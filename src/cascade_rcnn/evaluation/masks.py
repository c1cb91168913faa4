"""COCO's metrics of boxes and masks (segm), equal to pycocotools' to six digits."""

import dataclasses
from pathlib import Path

import hotcoco
import hotcoco.mask
import numpy as np
import torch

from cascade_rcnn.data.annotations import Annotations
from cascade_rcnn.data.segmentations import Segmentations
from cascade_rcnn.evaluation.coco import LIMIT, Metrics, check_detections, evaluate_boxes, figures, to_hotcoco
from cascade_rcnn.evaluation.detected import Detected
from cascade_rcnn.rle import RLE


def evaluate_detected(
    truth: Annotations, found: Detected, *, source: str | Path = "detections", limit: int = LIMIT
) -> Metrics:
    """Compute the metrics of boxes, and of masks as `Metrics.masks` if detections and ground truth have them.

    Arguments and errors are those of `evaluate_boxes`.
    """
    metrics = evaluate_boxes(truth, found.rows, source=source, limit=limit)
    if found.masks is None or truth.segmentations is None:
        return metrics
    return dataclasses.replace(
        metrics, masks=_evaluate_masks(truth, truth.segmentations, found.rows, found.masks, limit)
    )


def _evaluate_masks(
    truth: Annotations, segmentations: Segmentations, rows: np.ndarray, masks: list[RLE], limit: int
) -> Metrics:
    """An object without a mask is a crowd that fills its box: what is found there is neither right nor wrong."""
    check_detections(rows, truth, "detections")
    has = segmentations.has()
    known = dataclasses.replace(truth, ignore=truth.ignore | torch.from_numpy(~has))
    outlines = [
        segmentations.coco(a) if one else [_outline(box)]
        for a, (one, box) in enumerate(zip(has.tolist(), truth.boxes.tolist(), strict=True))
    ]
    reference = to_hotcoco(known, outlines)
    results = reference.load_res(np.ascontiguousarray(rows), segmentation=[*masks])
    if masks:  # sizes are told apart by the masks' areas, not the boxes'
        results.update_anns(ids=np.arange(1, len(masks) + 1), area=hotcoco.mask.area(masks).astype(np.float64))
    return figures(known, reference, results, "segm", limit)


def _outline(box: list[float]) -> list[float]:
    x, y, width, height = box
    return [x, y, x + width, y, x + width, y + height, x, y + height]
