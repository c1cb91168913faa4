"""Errors that cost AP: TIDE's error types, and confusion between classes."""

from typing import NamedTuple

import numpy as np

from cascade_rcnn.reporting.evidence import Evidence

KINDS = {  # TIDE's abbreviation: name, meaning
    "Loc": ("localization", "right class, but the box is too far off"),
    "Cls": ("class", "well placed, but of another class"),
    "Both": ("class and box", "another class, and the box is too far off"),
    "Dupe": ("duplicates", "the object has been found already, by a detection of a higher score"),
    "Bkg": ("background", "nothing there"),
    "Miss": ("missed", "objects that no detection comes near"),
}


class Split(NamedTuple):
    """TIDE's error types at one IoU threshold."""

    iou: float
    ap: float  # at this IoU
    cost: dict[str, float]  # the AP gained by fixing one kind of error, by name
    counts: dict[str, int]  # errors among the shown detections, by name

    @property
    def worst(self) -> str:
        """The most costly kind."""
        return max(self.cost, key=lambda name: self.cost[name])


def split(evidence: Evidence, iou: float) -> Split:
    """Split the errors at an IoU threshold; overlaps of less than 0.1 are background."""
    every = evidence.evaluator().tide_errors(pos_thr=iou)
    shown = evidence.evaluator(evidence.shown).tide_errors(pos_thr=iou)
    cost = {name: max(0.0, float(every["delta_ap"][key])) for key, (name, _) in KINDS.items()}
    counts = {name: int(shown["counts"][key]) for key, (name, _) in KINDS.items()}
    return Split(iou, float(every["ap_base"]), cost, counts)


class Confusion(NamedTuple):
    """Objects by true class (rows) and found class (columns); the last row and column are background."""

    names: list[str]
    matrix: np.ndarray  # (M + 1, M + 1) int64

    def pairs(self) -> list[tuple[str, str, int, int]]:
        """List confused classes: true, found, how many, out of how many objects; most frequent first."""
        number = len(self.names)
        found = [
            (self.names[i], self.names[j], int(self.matrix[i, j]), int(self.matrix[i].sum()))
            for i in range(number)
            for j in range(number)
            if i != j and self.matrix[i, j]
        ]
        return sorted(found, key=lambda row: -row[2])


def confusion(evidence: Evidence) -> Confusion:
    """Match the detections that are shown to objects of any class at IoU 0.5."""
    found = evidence.evaluator(evidence.shown).confusion_matrix(iou_thr=0.5)
    order = [found["cat_ids"].index(category.id) for category in evidence.truth.categories]
    order.append(found["num_cats"])
    return Confusion(evidence.names, np.asarray(found["matrix"])[np.ix_(order, order)].astype(np.int64))
