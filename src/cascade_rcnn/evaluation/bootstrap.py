"""Confidence intervals of AP and of differences in AP: the (paired) bootstrap over images.

The validation images are drawn with replacement, as many as there are, and both models are evaluated on the same draw.
The interval covers the choice of images; the standard deviation over seeds covers the randomness of training.

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
    """An AP, or the AP of one model minus that of another, in 0..1, with its 95 % interval over images."""

    mean: float
    low: float
    high: float


def resample(matches: Matches, number: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """Return AP at the ten IoU thresholds on the set itself (row 0) and on `number` resamples: (R + 1, 10).

    The draws depend only on the seed and the number of images: all models of a set are evaluated on the same ones.
    """
    return mean_over_classes(resample_classes(matches, number, seed))


def resample_classes(matches: Matches, number: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """Return AP like `resample`, by class: (R + 1, M, 10); NaN where a draw has no object of the class."""
    precision = AveragePrecision(matches)
    rng, images = np.random.default_rng(seed), len(matches.truth)
    draws = (rng.multinomial(images, np.full(images, 1 / images)) for _ in range(number))
    return np.stack([precision.classes(), *(precision.classes(weights) for weights in draws)])


def column(by_iou: np.ndarray, metric: str) -> np.ndarray:
    """Select `ap`, the mean over thresholds, or one of `ap50`, `ap55`, ..., `ap95` from rows (..., 10)."""
    return by_iou.mean(axis=-1) if metric == "ap" else by_iou[..., _AT[metric]]


def paired_difference(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray], metric: str) -> Interval:
    """Compare two models, given as arrays (R + 1, 10) on the same draws, one for each seed; seeds are averaged.

    Raises UserError if their numbers of resamples differ.
    """
    if {x.shape for x in ours} != {x.shape for x in theirs}:
        raise UserError("what is compared has different numbers of resamples; draw both again")
    difference = np.mean([column(a, metric) for a in ours], axis=0) - np.mean(
        [column(b, metric) for b in theirs], axis=0
    )
    return interval(difference)


def interval(values: np.ndarray) -> Interval:
    """Return the value of the set itself and the 95 % interval of its resamples: (R + 1,) -> mean, low, high."""
    draws = values[1:][~np.isnan(values[1:])]
    low, high = np.percentile(draws, [2.5, 97.5]) if len(draws) else (np.nan, np.nan)
    return Interval(float(values[0]), float(low), float(high))
