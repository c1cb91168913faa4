"""Confidence intervals of AP and of differences in AP, by the (paired) bootstrap over images.

A resample consists of as many images as the validation set has, drawn with replacement; both models are evaluated on
the same resamples. The interval reflects the choice of images, the standard deviation over seeds that of the training.

R resamples · M classes · ten IoU thresholds
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cascade_rcnn.errors import UserError
from cascade_rcnn.evaluation.coco import IOU_THRESHOLDS
from cascade_rcnn.evaluation.matches import AveragePrecision, Matches, mean_over_classes

RESAMPLES = 500
_AT = {f"ap{round(100 * u)}": k for k, u in enumerate(IOU_THRESHOLDS)}


class Interval(NamedTuple):
    """An AP in 0..1, or a difference between two, with its 95 % interval over images."""

    mean: float
    low: float
    high: float


def resample(matches: Matches, number: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """Return AP at the ten IoU thresholds on the dataset itself (row 0) and on `number` resamples: (R + 1, 10).

    Resamples depend only on the seed and the number of images, and are thus the same for all models on a dataset.
    """
    return mean_over_classes(resample_classes(matches, number, seed))


def resample_classes(matches: Matches, number: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """Return AP like `resample`, but by class: (R + 1, M, 10), NaN where a resample has no object of the class."""
    precision = AveragePrecision(matches)
    rng, images = np.random.default_rng(seed), len(matches.truth)
    draws = (rng.multinomial(images, np.full(images, 1 / images)) for _ in range(number))
    return np.stack([precision.classes(), *(precision.classes(weights) for weights in draws)])


def column(by_iou: np.ndarray, metric: str) -> np.ndarray:
    """Return `ap`, the mean over thresholds, or one of `ap50`, `ap55`, ..., `ap95` from values (..., 10): (...)."""
    return by_iou.mean(axis=-1) if metric == "ap" else by_iou[..., _AT[metric]]


def paired_difference(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray], metric: str) -> Interval:
    """Return the difference in a metric between two models, each given as one array (R + 1, 10) per seed.

    The arrays are AP on the same resamples, averaged over seeds. Raises UserError if the numbers of resamples differ.
    """
    if {x.shape for x in ours} != {x.shape for x in theirs}:
        raise UserError("the models have different numbers of resamples; resample both with the same number")
    difference = np.mean([column(a, metric) for a in ours], axis=0) - np.mean(
        [column(b, metric) for b in theirs], axis=0
    )
    return interval(difference)


def interval(values: np.ndarray) -> Interval:
    """Return the value of the dataset itself and the 95 % interval of its resamples, from values (R + 1,)."""
    draws = values[1:][~np.isnan(values[1:])]
    low, high = np.percentile(draws, [2.5, 97.5]) if len(draws) else (np.nan, np.nan)
    return Interval(float(values[0]), float(low), float(high))
