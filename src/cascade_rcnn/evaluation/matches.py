"""Detections matched to the ground truth, from which AP is computed quickly for any weighting of the images.

D detections · N images · M classes · ten IoU thresholds, .50:.05:.95
"""

from typing import NamedTuple

import hotcoco
import numpy as np

from cascade_rcnn.data.annotations import Annotations
from cascade_rcnn.evaluation.coco import Array, check_detections, to_hotcoco
from cascade_rcnn.evaluation.metrics import IOU_THRESHOLDS, LIMIT

_RECALLS = np.linspace(0.0, 1.0, 101)
_ALL = [0.0, 1e10]  # COCO's area range "all"


class Matches(NamedTuple):
    """Detections matched to the ground truth as in COCO: the top ones per image and class."""

    image: Array  # (D,) int64: index of the image in the annotations
    label: Array  # (D,) int64, 1..M
    score: Array  # (D,) float
    right: Array  # (D, 10) bool: matched to an object at this IoU threshold
    wrong: Array  # (D, 10) bool: unmatched; detections inside a crowd are neither right nor wrong
    truth: Array  # (N, M) int64: number of objects per image and class


class Pairs(NamedTuple):
    """Matches, and the objects that the detections are matched to."""

    matches: Matches
    row: Array  # (D,) int64: row of each detection in the input
    object: Array  # (D, 10) int64: row of the matched object or crowd in the annotations, at each IoU; -1: none


def match(ground_truth: Annotations, detections: Array) -> Matches:
    """Match the top 100 detections (N, 7) per image and class. Raises UserError like `evaluate_boxes`."""
    return pair(ground_truth, detections).matches


def pair(ground_truth: Annotations, detections: Array, limit: int = LIMIT) -> Pairs:
    """Match the top `limit` of detections (N, 7) per image and class. Raises UserError like `evaluate_boxes`."""
    detections = np.ascontiguousarray(detections, dtype=np.float64)
    check_detections(detections, ground_truth, "detections")
    reference = to_hotcoco(ground_truth)
    evaluation = hotcoco.COCOeval(reference, reference.load_res(detections), "bbox")
    evaluation.params.max_dets = [limit]
    evaluation.params.area_rng = [_ALL]
    evaluation.params.area_rng_lbl = ["all"]
    evaluation.evaluate()
    images = {int(identity): k for k, identity in enumerate(ground_truth.image_ids.tolist())}
    labels = {category.id: k for k, category in enumerate(ground_truth.categories, start=1)}
    columns: list[tuple[Array, ...]] = [_no_detections()]
    for one in evaluation.eval_imgs:
        if one is not None and one["aRng"] == _ALL:
            columns.append(_columns(one, images[one["image_id"]], labels[one["category_id"]]))
    image, label, score, right, wrong, row, matched = map(np.concatenate, zip(*columns, strict=True))
    return Pairs(Matches(image, label, score, right, wrong, count_objects(ground_truth)), row, matched)


def _no_detections() -> tuple[Array, ...]:
    none, flags = np.zeros(0, np.int64), np.zeros((0, len(IOU_THRESHOLDS)), np.bool_)
    return none, none, np.zeros(0), flags, flags, none, flags.astype(np.int64)


def _columns(one: dict, image: int, label: int) -> tuple[Array, ...]:
    """Convert one image and class of hotcoco's `eval_imgs` to columns with a row per detection."""
    number = len(one["dtIds"])
    matched = np.array(one["dtMatched"], np.bool_).reshape(len(IOU_THRESHOLDS), number).T
    ignored = np.array(one["dtIgnore"], np.bool_).reshape(len(IOU_THRESHOLDS), number).T
    place = np.full(number, image), np.full(number, label)
    flags = matched & ~ignored, ~matched & ~ignored
    row = np.array(one["dtIds"], np.int64) - 1  # both ids count from 1, in the order given
    other = np.array(one["dtMatches"], np.int64).reshape(len(IOU_THRESHOLDS), number).T
    return *place, np.array(one["dtScores"], np.float64), *flags, row, np.where(matched, other - 1, -1)


def count_objects(truth: Annotations) -> Array:
    """Return the number of objects per image and class, (N, M), without ignored ones."""
    images, classes = len(truth), len(truth.categories)
    real = ~truth.ignore
    cell = truth.owners[real] * classes + truth.labels[real] - 1
    return np.bincount(cell.numpy(), minlength=images * classes).reshape(images, classes)


class AveragePrecision:
    """AP at the ten IoU thresholds with weighted images: 2 counts an image twice, 0 leaves it out."""

    def __init__(self, matches: Matches) -> None:
        self.truth = matches.truth
        order = np.argsort(-matches.score, kind="stable")
        self._classes = []
        for k in range(matches.truth.shape[1]):
            rows = order[matches.label[order] == k + 1]
            flags = (np.ascontiguousarray(x[rows].T.astype(np.float64)) for x in (matches.right, matches.wrong))
            self._classes.append((k, matches.image[rows], *flags))

    def __call__(self, weights: Array | None = None) -> Array:
        """Return the mean AP of classes with objects, (10,), NaN if there are none; `weights` (N,) default to 1."""
        return mean_over_classes(self.classes(weights))

    def classes(self, weights: Array | None = None) -> Array:
        """Return the AP of each class, (M, 10), NaN for classes without objects."""
        weights = np.ones(len(self.truth)) if weights is None else weights
        objects = weights @ self.truth
        found = np.full((len(objects), len(IOU_THRESHOLDS)), np.nan)
        for k, image, right, wrong in self._classes:
            if objects[k] > 0:
                found[k] = _of_class(right * weights[image], wrong * weights[image], float(objects[k]))
        return found


def mean_over_classes(found: Array) -> Array:
    """Average over the classes that are not NaN: (..., M, 10) -> (..., 10), NaN if all are."""
    known = ~np.isnan(found)
    number = known.sum(axis=-2)
    return np.where(number > 0, np.where(known, found, 0.0).sum(axis=-2) / np.maximum(number, 1), np.nan)


def _of_class(right: Array, wrong: Array, objects: float) -> Array:
    """Average the precision at 101 recalls: (10, D), sorted by descending score -> (10,)."""
    if right.shape[1] == 0:
        return np.zeros(len(right))
    hits, misses = right.cumsum(axis=1), wrong.cumsum(axis=1)
    precision = hits / np.maximum(hits + misses, 1e-12)
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    envelope = np.concatenate([envelope, np.zeros((len(right), 1))], axis=1)  # for recalls that are not reached
    recall = hits / objects
    return np.array([row[np.searchsorted(r, _RECALLS)].mean() for row, r in zip(envelope, recall, strict=True)])
