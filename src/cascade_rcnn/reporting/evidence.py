"""Detections on a dataset, matched once for all sections of a report."""

from dataclasses import dataclass
from functools import cached_property

import hotcoco
import numpy as np

from cascade_rcnn.data.annotations import Annotations
from cascade_rcnn.data.dataset import Dataset
from cascade_rcnn.evaluation.coco import Array, to_hotcoco
from cascade_rcnn.evaluation.detected import Detected
from cascade_rcnn.evaluation.masks import evaluate_detected
from cascade_rcnn.evaluation.matches import Pairs, pair
from cascade_rcnn.evaluation.metrics import LIMIT, Metrics
from cascade_rcnn.reporting.thresholds import Operating, best, operate
from cascade_rcnn.rle import RLE

_DEFAULT = 0.5  # threshold if no detection is correct


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """A detector's results on a dataset.

    Of N detections, D are evaluated: the top `limit` per image and class.
    """

    dataset: Dataset
    found: Array  # (N, 7) float64: image id, x, y, width, height, score, category id
    limit: int  # detections per image and class that count
    threshold: float  # score from which detections are shown
    pairs: Pairs  # the D evaluated detections, matched to objects
    masks: list[RLE] | None = None  # of the N detections, if the detector predicts any
    measured: Metrics | None = None  # COCO's metrics, if they are already computed

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        found: Detected,
        threshold: float | None = None,
        *,
        limit: int = LIMIT,
        measured: Metrics | None = None,
    ) -> "Evidence":
        """Match detections to the dataset; the threshold defaults to the one with the highest F1 at IoU 0.5."""
        pairs = pair(dataset.annotations, found.rows, limit)
        if threshold is None:
            chosen = best(pairs.matches)
            threshold = _DEFAULT if chosen is None else chosen.threshold
        return cls(
            dataset=dataset,
            found=found.rows,
            limit=limit,
            threshold=threshold,
            pairs=pairs,
            masks=found.masks,
            measured=measured,
        )

    @property
    def truth(self) -> Annotations:
        """The ground truth."""
        return self.dataset.annotations

    @property
    def names(self) -> list[str]:
        """The class names, of labels 1..M."""
        return self.truth.class_names

    @cached_property
    def metrics(self) -> Metrics:
        """COCO's metrics, also of masks if both detections and objects have them."""
        if self.measured is not None:
            return self.measured
        return evaluate_detected(self.truth, Detected(self.found, self.masks), limit=self.limit)

    @cached_property
    def operating(self) -> Operating:
        """Precision, recall and F1 at the threshold."""
        return operate(self.pairs.matches, np.array([self.threshold]))[0]

    @cached_property
    def shown(self) -> Array:
        """The rows of `found` (S,) that are evaluated and have scores of at least the threshold."""
        return self.pairs.row[self.pairs.matches.score >= self.threshold]

    @cached_property
    def object_image(self) -> Array:
        """The image (0..N-1) of each object (A,)."""
        return self.truth.owners.numpy()

    def evaluator(self, rows: Array | None = None) -> hotcoco.COCOeval:
        """Evaluate all detections, or the given rows, with hotcoco, whose detection ids are row numbers from 1."""
        reference = to_hotcoco(self.truth)
        found = np.ascontiguousarray(self.found if rows is None else self.found[rows])
        evaluation = hotcoco.COCOeval(reference, reference.load_res(found), "bbox")
        evaluation.params.max_dets = [self.limit]
        evaluation.evaluate()
        return evaluation
