"""Headline metrics: AP overall, by IoU and by class, with 95 % intervals over images."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from cascade_rcnn.evaluation.bootstrap import LEAST_IMAGES, Interval, column, interval_of_ap, resample_classes
from cascade_rcnn.evaluation.matches import Matches, mean_over_classes
from cascade_rcnn.evaluation.metrics import IOU_THRESHOLDS

METRICS = ("ap", "ap50", "ap75", "ap90")
Bounds: TypeAlias = Callable[[np.ndarray], Interval]  # of values (R + 1,)
_DRAWS, _FEWER, _MANY = 300, 60, 100_000  # resamples, also for more than _MANY detections


class ClassRow(NamedTuple):
    """Metrics of one class."""

    name: str
    boxes: int
    values: dict[str, Interval]  # by metric


class Headline(NamedTuple):
    """AP with 95 % intervals, 0 to 1; NaN without objects, NaN bounds if fewer than `LEAST_IMAGES` images show some."""

    overall: dict[str, Interval]  # by metric
    by_iou: list[Interval]  # at each of the ten IoU thresholds
    classes: list[ClassRow]
    resamples: int

    @property
    def bounded(self) -> bool:
        """Whether the metrics over all classes have intervals."""
        return not math.isnan(self.overall["ap"].low)


def draws(matches: Matches) -> np.ndarray:
    """Compute AP (R + 1, M, 10) by class and IoU threshold, first on all images, then on R resamples of them."""
    return resample_classes(matches, _DRAWS if len(matches.score) <= _MANY else _FEWER)


def headline(
    by_class: np.ndarray, names: Sequence[str], truth: np.ndarray, interval: Bounds = interval_of_ap
) -> Headline:
    """Summarise AP (R + 1, M, 10) from `draws`; `truth` (N, M) counts the objects.

    For a difference of two such arrays, `interval` is `bootstrap.interval`.
    """
    overall = mean_over_classes(by_class)
    boxes, images = truth.sum(axis=0).tolist(), (truth > 0).sum(axis=0).tolist()
    shown = images_with_objects(truth)
    return Headline(
        overall=_metrics(overall, shown, interval),
        by_iou=[_bounded(overall[:, k], shown, interval) for k in range(len(IOU_THRESHOLDS))],
        classes=[
            ClassRow(name, boxes[k], _metrics(by_class[:, k], images[k], interval)) for k, name in enumerate(names)
        ],
        resamples=len(by_class) - 1,
    )


def images_with_objects(truth: np.ndarray) -> int:
    """Return the number of images on which the intervals rest; `truth` (N, M) counts the objects."""
    return int((truth > 0).any(axis=1).sum())


def _metrics(by_iou: np.ndarray, images: int, interval: Bounds) -> dict[str, Interval]:
    return {metric: _bounded(column(by_iou, metric), images, interval) for metric in METRICS}


def _bounded(values: np.ndarray, images: int, interval: Bounds) -> Interval:
    """Return the interval of values (R + 1,), with NaN as its bounds if it would rest on too few images."""
    return interval(values if images >= LEAST_IMAGES else values[:1])
