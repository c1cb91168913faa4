"""Comparison of two detectors on the same data: differences in AP with intervals, and per image."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from cascade_rcnn.data.annotations import Annotations
from cascade_rcnn.errors import UserError
from cascade_rcnn.evaluation.bootstrap import Interval, interval
from cascade_rcnn.evaluation.metrics import Metrics, nan_to_none
from cascade_rcnn.reporting.evidence import Evidence
from cascade_rcnn.reporting.headline import METRICS, Headline, draws, headline
from cascade_rcnn.reporting.images import ImageScores, image_scores


class Comparison(NamedTuple):
    """Results of detector b compared with those of detector a."""

    a: Evidence
    b: Evidence
    own: tuple[Headline, Headline]
    difference: Headline  # b minus a, on the same resamples of the images
    scores: tuple[ImageScores, ImageScores]

    @property
    def masks(self) -> tuple[Metrics, Metrics] | None:
        """The mask metrics of both; None if they are not measured."""
        if self.a.masks is None or self.b.masks is None:  # not to compute metrics for nothing
            return None
        a, b = self.a.metrics.masks, self.b.metrics.masks
        return None if a is None or b is None else (a, b)

    @property
    def gains(self) -> np.ndarray:
        """Each image's score with b minus its score with a, (N,); 0 for images without objects and detections."""
        a, b = (np.nan_to_num(one.score, nan=1.0) for one in self.scores)  # neither objects nor detections: perfect
        return b - a

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-serializable values, with NaN as None."""
        truth, gains = self.a.truth, self.gains
        found = {
            "data": truth.source,
            "ap": [_metrics(one) for one in self.own],
            "difference": _metrics(self.difference),
            "classes": {row.name: _intervals(row.values) for row in self.difference.classes},
            "thresholds": [self.a.threshold, self.b.threshold],
            "images": {truth.file_names[i]: float(gains[i]) for i in np.argsort(gains, kind="stable").tolist()},
        }
        if (both := self.masks) is not None:
            found["masks"] = [{metric: getattr(one, metric) for metric in METRICS} for one in both]
        return nan_to_none(found)


def compare(a: Evidence, b: Evidence) -> Comparison:
    """Compare two detectors' results on the same data; their intervals are paired, image by image."""
    by_class = draws(a.pairs.matches), draws(b.pairs.matches)
    number = min(map(len, by_class))  # a detector with very many detections has fewer resamples
    first, second = (one[:number] for one in by_class)
    truth = a.pairs.matches.truth
    own = headline(first, a.names, truth), headline(second, b.names, truth)
    difference = headline(second - first, a.names, truth, interval)
    return Comparison(a, b, own, difference, (image_scores(a), image_scores(b)))


def check_same_data(a: Annotations, b: Annotations) -> None:
    """Raise UserError if two detectors were evaluated on different data."""
    differs = difference_of_data(a, b)
    if differs is not None:
        raise UserError(
            f"{a.source} and {b.source} are not the same data ({differs}); give --data to compare both on one dataset"
        )


def difference_of_data(a: Annotations, b: Annotations) -> str | None:
    """Describe how two sets of annotations differ; return None if their content is the same."""
    if a.categories != b.categories:
        return "their classes differ"
    if len(a) != len(b):
        return f"one has {len(a)} images, the other {len(b)}"
    if a.image_ids.tolist() != b.image_ids.tolist() or list(map(_name, _names(a))) != list(map(_name, _names(b))):
        return "their images differ"
    same = (getattr(a, column).equal(getattr(b, column)) for column in ("first", "boxes", "labels", "ignore"))
    return None if all(same) else "their boxes differ"


def _names(truth: Annotations) -> list[str]:
    return [truth.file_names[i] for i in range(len(truth))]


def _name(path: str) -> str:
    return path.replace("\\", "/").rpartition("/")[2]


def _metrics(found: Headline) -> dict[str, Any]:
    return _intervals(found.overall) | {"by_iou": [one._asdict() for one in found.by_iou]}


def _intervals(values: Mapping[str, Interval]) -> dict[str, Any]:
    return {metric: one._asdict() for metric, one in values.items()}
