"""Types of errors: the AP that each of TIDE's types costs, and confusion between classes."""

from typing import NamedTuple

import numpy as np

from cascade_rcnn.reporting.evidence import Evidence

KINDS = {  # TIDE's abbreviation: (name, meaning)
    "Loc": ("localization", "correct class, but the box is not precise enough"),
    "Cls": ("class", "well-localized box, but the wrong class"),
    "Both": ("class and box", "wrong class, and the box is not precise enough"),
    "Dupe": ("duplicates", "the object already has a detection with a higher score"),
    "Bkg": ("background", "no object there"),
    "Miss": ("missed", "objects without any detection near them"),
}


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
    """Classify the errors at an IoU threshold; detections with IoUs below 0.1 are background errors."""
    every = evidence.evaluator().tide_errors(pos_thr=iou)
    shown = evidence.evaluator(evidence.shown).tide_errors(pos_thr=iou)
    cost = {name: max(0.0, float(every["delta_ap"][key])) for key, (name, _) in KINDS.items()}
    counts = {name: int(shown["counts"][key]) for key, (name, _) in KINDS.items()}
    return Split(iou, float(every["ap_base"]), cost, counts)


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
