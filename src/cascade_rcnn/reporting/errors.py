"""Types of errors: the AP that each of TIDE's types costs, and confusion between classes."""

from typing import NamedTuple

import numpy as np

from cascade_rcnn.evaluation.coco import Array
from cascade_rcnn.evaluation.matches import AveragePrecision, Matches
from cascade_rcnn.evaluation.metrics import IOU_THRESHOLDS
from cascade_rcnn.reporting.breakdown import box_iou
from cascade_rcnn.reporting.evidence import Evidence

KINDS = {  # TIDE's abbreviation: (name, meaning)
    "Loc": ("localization", "correct class, but the box is not precise enough"),
    "Cls": ("class", "well-localized box, but the wrong class"),
    "Both": ("class and box", "wrong class, and the box is not precise enough"),
    "Dupe": ("duplicates", "the object already has a detection with a higher score"),
    "Bkg": ("background", "no object there"),
    "Miss": ("missed", "objects without any detection near them"),
}
_NEAR = 0.1  # IoU with an object from which a detection of its class is not background


class Split(NamedTuple):
    """TIDE's error types at one IoU threshold."""

    iou: float
    ap: float  # at this IoU
    cost: dict[str, float]  # AP gained by fixing this type of error alone, by name
    counts: dict[str, int]  # number of errors at the report's threshold, by name

    @property
    def worst(self) -> str:
        """The type that costs the most AP."""
        return max(self.cost, key=lambda name: self.cost[name])


def split(evidence: Evidence, iou: float) -> Split:
    """Classify the errors at one of the ten IoU thresholds; detections with IoUs below 0.1 are background errors.

    TIDE fixes missed objects by leaving them out of the count, which keeps precision as it is. In a class without any
    correct detection there is no precision to keep, and AP would stay 0: there, missed objects count as found instead.
    """
    every = evidence.evaluator().tide_errors(pos_thr=iou)
    shown = evidence.evaluator(evidence.shown).tide_errors(pos_thr=iou)
    cost = {name: max(0.0, float(every["delta_ap"][key])) for key, (name, _) in KINDS.items()}
    cost["missed"] += _missed_in_classes_never_right(evidence, iou)
    counts = {name: int(shown["counts"][key]) for key, (name, _) in KINDS.items()}
    return Split(iou, float(every["ap_base"]), cost, counts)


def _missed_in_classes_never_right(evidence: Evidence, iou: float) -> float:
    """Return the AP gained if the missed objects were found in the classes whose detections are all wrong."""
    matches, labels, k = evidence.pairs.matches, evidence.truth.labels.numpy(), IOU_THRESHOLDS.index(iou)
    found = ~np.isin(labels, matches.label[matches.right[:, k]])
    if found.any():
        found &= missed(evidence, iou)
    if not found.any():
        return 0.0
    right = np.full((int(found.sum()), len(IOU_THRESHOLDS)), True)
    fixed = Matches(evidence.object_image[found], labels[found], np.ones(len(right)), right, ~right, matches.truth)
    return float(AveragePrecision(fixed)()[k])


def missed(evidence: Evidence, iou: float) -> Array:
    """Return which objects (A,) TIDE counts as missed: no detection finds them, not even a corrected one.

    A wrong detection is corrected to the object of its class that it overlaps most, by at least 0.1, or else to the
    object of another class that it overlaps most, by at least the IoU threshold. Crowds are left out.
    """
    truth, matches, k = evidence.truth, evidence.pairs.matches, IOU_THRESHOLDS.index(iou)
    boxes, labels = truth.boxes.numpy(), truth.labels.numpy()
    real = ~truth.ignore.numpy()
    left = real.copy()
    left[evidence.pairs.object[matches.right[:, k], k]] = False
    wrong = np.flatnonzero(matches.wrong[:, k])
    wrong = wrong[np.argsort(matches.image[wrong], kind="stable")]
    ends = np.searchsorted(matches.image[wrong], np.arange(len(truth) + 1))
    for i in range(len(truth)):
        rows, objects = wrong[ends[i] : ends[i + 1]], np.arange(len(boxes))[truth.rows(i)]
        objects = objects[real[objects]]
        if len(rows) and len(objects):
            overlap = box_iou(evidence.found[evidence.pairs.row[rows], 1:5], boxes[objects])
            left[objects[_corrected(overlap, matches.label[rows, None] == labels[objects], iou)]] = False
    return left


def _corrected(overlap: Array, same: Array, iou: float) -> Array:
    """Return the objects that wrong detections are corrected to, given IoU and equality of class (D, A)."""
    own, other = np.where(same, overlap, 0.0), np.where(same, 0.0, overlap)
    imprecise = (own.max(axis=1) >= _NEAR) & (own.max(axis=1) <= iou)
    confused = ~imprecise & (other.max(axis=1) >= iou)
    return np.concatenate([own.argmax(axis=1)[imprecise], other.argmax(axis=1)[confused]])


class Confusion(NamedTuple):
    """Counts by true class (rows) and predicted class (columns); the last row and column are background."""

    names: list[str]
    matrix: np.ndarray  # (M + 1, M + 1) int64

    def pairs(self) -> list[tuple[str, str, int, int]]:
        """List confusions as (true class, predicted class, count, objects of the true class), most frequent first."""
        number = len(self.names)
        found = [
            (self.names[i], self.names[j], int(self.matrix[i, j]), int(self.matrix[i].sum()))
            for i in range(number)
            for j in range(number)
            if i != j and self.matrix[i, j]
        ]
        return sorted(found, key=lambda row: -row[2])


def confusion(evidence: Evidence) -> Confusion:
    """Match detections at the report's threshold, except those in crowds, to objects of any class at IoU 0.5."""
    matches = evidence.pairs.matches
    counted = (matches.score >= evidence.threshold) & (matches.right[:, 0] | matches.wrong[:, 0])
    rows = evidence.pairs.row[counted]
    found = evidence.evaluator(rows).confusion_matrix(iou_thr=0.5, max_det=len(rows))  # otherwise `limit` per image
    order = [found["cat_ids"].index(category.id) for category in evidence.truth.categories]
    order.append(found["num_cats"])
    return Confusion(evidence.names, np.asarray(found["matrix"])[np.ix_(order, order)].astype(np.int64))
