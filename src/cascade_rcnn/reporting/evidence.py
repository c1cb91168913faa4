"""Detections on a dataset, matched once for all sections of a report."""

from dataclasses import dataclass
from functools import cached_property

import hotcoco
import numpy as np

from cascade_rcnn.data.annotations import Annotations
from cascade_rcnn.data.dataset import Dataset
from cascade_rcnn.evaluation.coco import Array, Metrics, evaluate_boxes, to_hotcoco
from cascade_rcnn.evaluation.matches import Pairs, pair
from cascade_rcnn.reporting.thresholds import Operating, best, operate

_DEFAULT = 0.5  # if no threshold gives any correct detection


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """A detector's results on a dataset.

    D detections count: the top 100 an image and class.
    """

    dataset: Dataset
    found: Array  # (N, 7) float64: image id, x, y, width, height, score, category id
    threshold: float  # detections of at least this score count as shown
    pairs: Pairs  # D of the detections, matched

    @classmethod
    def of(cls, dataset: Dataset, found: Array, threshold: float | None = None) -> "Evidence":
        """Match detections (N, 7) to the dataset; the threshold defaults to the one of the highest F1 at IoU 0.5."""
        pairs = pair(dataset.annotations, found)
        if threshold is None:
            chosen = best(pairs.matches)
            threshold = _DEFAULT if chosen is None else chosen.threshold
        return cls(dataset=dataset, found=found, threshold=threshold, pairs=pairs)

    @property
    def truth(self) -> Annotations:
        """The ground truth."""
        return self.dataset.annotations

    @property
    def names(self) -> list[str]:
        """The names of labels 1..M."""
        return [category.name for category in self.truth.categories]

    @cached_property
    def metrics(self) -> Metrics:
        """COCO's metrics."""
        return evaluate_boxes(self.truth, self.found)

    @cached_property
    def operating(self) -> Operating:
        """Precision, recall and F1 at the threshold."""
        return operate(self.pairs.matches, np.array([self.threshold]))[0]

    @cached_property
    def shown(self) -> Array:
        """Rows of `found` (S,) with scores of at least the threshold, out of those that count."""
        return self.pairs.row[self.pairs.matches.score >= self.threshold]

    @cached_property
    def object_image(self) -> Array:
        """The image (0..N-1) of each object (A,)."""
        return np.repeat(np.arange(len(self.truth)), np.diff(self.truth.first.numpy()))

    def evaluator(self, rows: Array | None = None) -> hotcoco.COCOeval:
        """Evaluate all detections, or some rows of them, with hotcoco; its ids are rows, counted from 1."""
        reference = to_hotcoco(self.truth)
        found = np.ascontiguousarray(self.found if rows is None else self.found[rows])
        evaluation = hotcoco.COCOeval(reference, reference.load_res(found), "bbox")
        evaluation.evaluate()
        return evaluation
