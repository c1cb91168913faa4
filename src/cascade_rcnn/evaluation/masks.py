"""COCO metrics of boxes and masks (segm), identical to those of pycocotools to six digits."""

import dataclasses
from pathlib import Path
from typing import Any

import hotcoco
import hotcoco.mask
import numpy as np
import torch

from cascade_rcnn.data.annotations import Annotations
from cascade_rcnn.data.segmentations import Segmentations
from cascade_rcnn.errors import UserError
from cascade_rcnn.evaluation.boundaries import evaluate_boundaries
from cascade_rcnn.evaluation.coco import compute_metrics, evaluate_boxes, to_hotcoco
from cascade_rcnn.evaluation.detected import Detected
from cascade_rcnn.evaluation.metrics import LIMIT, Metrics
from cascade_rcnn.rle import RLE


def evaluate_detected(
    truth: Annotations,
    found: Detected,
    *,
    source: str | Path = "detections",
    limit: int = LIMIT,
    boundary: bool = False,
) -> Metrics:
    """Compute the metrics of boxes and, in `Metrics.masks`, those of masks if detections and ground truth have them.

    With `boundary`, also computes mask metrics with boundary IoU in `Metrics.boundaries`, and raises UserError if there
    are no masks. Other arguments and errors are those of `evaluate_boxes`.
    """
    metrics = evaluate_boxes(truth, found.rows, source=source, limit=limit)
    if found.masks is None or truth.segmentations is None:
        if boundary:
            where = truth.source if truth.segmentations is None else source
            raise UserError(f"{where}: has no masks, so boundary AP cannot be computed; omit the option")
        return metrics
    known, outlines = _outlined(truth, truth.segmentations)
    metrics = dataclasses.replace(metrics, masks=_evaluate_masks(known, outlines, found.rows, found.masks, limit))
    if not boundary:
        return metrics
    boundaries = evaluate_boundaries(known, outlines, found.rows, found.masks, limit)
    return dataclasses.replace(metrics, boundaries=boundaries)


def unmeasured(truth: Annotations) -> list[str]:
    """Return a note for detections with masks, if the ground truth has none."""
    return [f"{truth.source}: has no masks, so mask AP is not measured"] if truth.segmentations is None else []


def _outlined(truth: Annotations, segmentations: Segmentations) -> tuple[Annotations, list[Any]]:
    """Return the ground truth, and an outline for every object.

    An object without a mask becomes a crowd that fills its box: detections there are neither true nor false positives.
    Where the file has no area, it is that of the mask.
    """
    has = segmentations.has()
    areas = truth.areas.clone()
    sizes = truth.image_sizes[truth.owners]
    for a in np.flatnonzero(has & truth.without_area.numpy()).tolist():
        outline = segmentations.rle(a, *sizes[a].tolist())
        assert outline is not None
        areas[a] = float(hotcoco.mask.area([outline])[0])
    known = dataclasses.replace(truth, ignore=truth.ignore | torch.from_numpy(~has), areas=areas)
    outlines = [
        segmentations.coco(a) if one else [_outline(box)]
        for a, (one, box) in enumerate(zip(has.tolist(), truth.boxes.tolist(), strict=True))
    ]
    return known, outlines


def _evaluate_masks(known: Annotations, outlines: list[Any], rows: np.ndarray, masks: list[RLE], limit: int) -> Metrics:
    reference = to_hotcoco(known, outlines)
    results = reference.load_res(np.ascontiguousarray(rows), segmentation=[*masks])
    if masks:  # small, medium and large are areas of masks, not of boxes
        results.update_anns(ids=np.arange(1, len(masks) + 1), area=hotcoco.mask.area(masks).astype(np.float64))
    return compute_metrics(known, reference, results, "segm", limit)


def _outline(box: list[float]) -> list[float]:
    x, y, width, height = box
    return [x, y, x + width, y, x + width, y + height, x, y + height]
