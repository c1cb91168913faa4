"""COCO metrics of boxes by hotcoco: identical to pycocotools to six digits, and an order of magnitude faster.

Detections are one array (N, 7) float64: image id, x, y, width, height, score, category id.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import hotcoco
import numpy as np

from cascade_rcnn.data.annotations import Annotations
from cascade_rcnn.errors import UserError
from cascade_rcnn.evaluation.detected import COLUMNS
from cascade_rcnn.evaluation.metrics import LIMIT, ClassMetrics, Metrics
from cascade_rcnn.text import count

Array: TypeAlias = np.ndarray


def evaluate_boxes(
    ground_truth: Annotations, detections: Array, *, source: str | Path = "detections", limit: int = LIMIT
) -> Metrics:
    """Compute COCO metrics of detections (N, 7) float64, in any order; the top `limit` per image and class count.

    A ground-truth box marked `ignore` is a crowd: detections inside it are neither true nor false positives.
    Raises UserError, naming `source` and the entry, for a detection that is not finite or has an unknown image or
    category.
    """
    detections = np.ascontiguousarray(detections, dtype=np.float64)
    check_detections(detections, ground_truth, source)
    reference = to_hotcoco(ground_truth)
    return compute_metrics(ground_truth, reference, reference.load_res(detections), "bbox", limit)


def compute_metrics(
    truth: Annotations, reference: hotcoco.COCO, found: hotcoco.COCO, kind: Literal["bbox", "segm"], limit: int
) -> Metrics:
    """Compute COCO metrics of boxes or masks, given ground truth and detections in hotcoco's format."""
    evaluation = hotcoco.COCOeval(reference, found, kind)
    evaluation.params.max_dets = limits(limit)
    evaluation.evaluate()
    evaluation.accumulate()
    results = evaluation.eval
    assert results is not None  # accumulate() sets it
    return summarise(truth, results["precision"], results["recall"], evaluation.params.cat_ids, limit)


def limits(limit: int) -> list[int]:
    """Return the three limits of detections per image and class for which recall is averaged, in ascending order."""
    return [1, min(10, limit), limit]


def crowding_notes(truth: Annotations, limit: int = LIMIT, most: int | None = None) -> list[str]:
    """Return a note if an image has more objects of a class than detections that count, or more than a model finds.

    `most` is the model's `max_detections`; None: the detections are not those of a model.
    """
    image, label = (column.numpy()[~truth.ignore.numpy()] for column in (truth.owners, truth.labels))
    numbers = np.bincount(image, minlength=len(truth))
    if most is not None and numbers.max(initial=0) > most:
        return _crowded(truth, numbers, f"the model finds at most {count(most, 'object')} per image", "objects")
    cells, numbers = np.unique(np.stack([image, label]), axis=1, return_counts=True)
    of_class = np.zeros(len(truth), np.int64)
    np.maximum.at(of_class, cells[0], numbers)
    if of_class.max(initial=0) > limit:
        only = f"only the top {limit} detections per image and class count"
        return _crowded(truth, of_class, only, "objects of one class")
    return []


def _crowded(truth: Annotations, numbers: Array, only: str, what: str) -> list[str]:
    i = int(numbers.argmax())
    advice = f"`evaluate --max-detections {numbers[i]}` counts them all"
    return [f"{only}, but {truth.file_names[i]} has {numbers[i]} {what}; {advice}"]


def check_detections(detections: Array, ground_truth: Annotations, source: str | Path) -> None:
    """Raise UserError, naming `source` and the entry, for detections (N, 7) that cannot be evaluated."""
    if detections.ndim != 2 or detections.shape[1] != COLUMNS:
        raise UserError(f"{source}: has shape {detections.shape}; give (N, 7): image, x, y, w, h, score, class")
    images, categories = detections[:, 0], detections[:, 6]
    known_categories = np.array([category.id for category in ground_truth.categories], dtype=np.float64)
    problems = (
        (~np.isfinite(detections).all(axis=1), "a value that is not finite; remove it"),
        ((detections[:, 3:5] < 0).any(axis=1), "a negative width or height; give boxes as x, y, width, height"),
        (
            ~np.isin(images, ground_truth.image_ids.numpy().astype(np.float64)),
            f"an image id that is not in {ground_truth.source}; remove it",
        ),
        (
            ~np.isin(categories, known_categories),
            f"a category id that is not in {ground_truth.source}; correct the ids, or remove it",
        ),
    )
    for wrong, what in problems:
        if wrong.any():
            entry = int(wrong.argmax())
            row = detections[entry].tolist()
            raise UserError(f"{source}: entry {entry} (image id {row[0]:g}, category id {row[6]:g}) has {what}")


def to_hotcoco(truth: Annotations, outlines: list[Any] | None = None) -> hotcoco.COCO:
    """Convert the ground truth to hotcoco's format; masks need `outlines`, the objects' segmentations."""
    sizes = zip(truth.image_ids.tolist(), truth.image_sizes.tolist(), strict=True)
    category_ids = np.array([category.id for category in truth.categories], dtype=np.int64)
    count = len(truth.boxes)
    return hotcoco.COCO.from_arrays(
        [{"id": identity, "height": height, "width": width} for identity, (height, width) in sizes],
        [{"id": category.id, "name": category.name} for category in truth.categories],
        truth.image_ids[truth.owners].numpy(),
        category_ids[truth.labels.numpy() - 1],
        truth.boxes.numpy(),
        ids=np.arange(1, count + 1),  # never 0, which means "unmatched" in pycocotools
        area=truth.areas.numpy(),
        iscrowd=truth.ignore.numpy(),
        segmentation=outlines,
    )


def summarise(truth: Annotations, precision: Array, recall: Array, category_ids: Sequence[int], limit: int) -> Metrics:
    """Average the accumulated precision (10, 101, M, 4, 3) and recall (10, M, 4, 3) to metrics.

    The axes are IoU thresholds, recalls, classes, areas (all, small, medium, large) and `limits(limit)`; -1 means no
    ground truth.
    """
    by_iou = tuple(_mean(at_iou) for at_iou in precision[..., 0, -1])
    at = dict(zip(range(50, 100, 5), by_iou, strict=True))
    real = truth.labels.numpy()[~truth.ignore.numpy()]
    boxes = np.bincount(real, minlength=len(truth.categories) + 1)[1:].tolist()
    rows = {category_id: precision[:, :, k, 0, -1] for k, category_id in enumerate(category_ids)}
    classes = []
    for category, number in zip(truth.categories, boxes, strict=True):
        mine = rows[category.id]
        values = {"ap": _mean(mine), "ap50": _mean(mine[0]), "ap75": _mean(mine[5])}
        classes.append(ClassMetrics(name=category.name, boxes=number, **values))
    names = ("all", "small", "medium", "large")
    ap_by_area = {name: _mean(precision[..., area, -1]) for area, name in enumerate(names)}
    ar_by_area = {name: _mean(recall[..., area, -1]) for area, name in enumerate(names)}
    return Metrics(
        ap=ap_by_area["all"], ap50=at[50], ap60=at[60], ap70=at[70], ap75=at[75], ap80=at[80], ap90=at[90],
        ap_small=ap_by_area["small"], ap_medium=ap_by_area["medium"], ap_large=ap_by_area["large"],
        ar1=_mean(recall[..., 0, 0]), ar10=_mean(recall[..., 0, 1]), ar100=ar_by_area["all"],
        ar_small=ar_by_area["small"], ar_medium=ar_by_area["medium"], ar_large=ar_by_area["large"],
        precision_by_iou=by_iou, per_class=tuple(classes), images=len(truth.image_ids), boxes=len(real),
        max_detections=limit,
    )  # fmt: skip


def _mean(values: Array) -> float:
    known = values[values > -1]
    return float(known.mean()) if known.size else math.nan
