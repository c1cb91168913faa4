"""Confidence intervals of AP and of differences in AP, by the (paired) bootstrap over images and seeds.

A resample consists of as many images as the validation set has, drawn with replacement; both models are evaluated on
the same resamples. If they were trained with several seeds, each resample also draws as many seeds with replacement.
With one seed, the interval reflects the choice of images alone, and not the randomness of training. The interval of a
difference consists of quantiles, and that of an AP is symmetric around it.

S seeds · R resamples · M classes · ten IoU thresholds
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cascade_rcnn.errors import UserError
from cascade_rcnn.evaluation.matches import AveragePrecision, Matches, mean_over_classes
from cascade_rcnn.evaluation.metrics import IOU_THRESHOLDS

RESAMPLES = 500
LEAST_IMAGES = 10  # for an interval; resamples of fewer vary too little (those of one image not at all)
_AT = {f"ap{round(100 * u)}": k for k, u in enumerate(IOU_THRESHOLDS)}


class Interval(NamedTuple):
    """An AP in 0..1, or a difference between two, with its 95 % interval over images and seeds."""

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

    Runs at the same place have the same seed, and the arrays are AP on the same resamples of the images. Raises
    UserError if the numbers of seeds or of resamples differ.
    """
    return interval(difference_draws(ours, theirs, metric, np.random.default_rng(0)))


def difference_draws(
    ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray], metric: str, rng: np.random.Generator
) -> np.ndarray:
    """Return the differences whose interval `paired_difference` returns, (R + 1,); the first is that of the dataset.

    Seeds are drawn in pairs: a run and its counterpart.
    """
    if len(ours) != len(theirs):
        raise UserError("the models were trained with different numbers of seeds; compare them on the same seeds")
    if {x.shape for x in ours} != {x.shape for x in theirs}:
        raise UserError("the models have different numbers of resamples; resample both with the same number")
    by_seed = np.stack([column(a, metric) - column(b, metric) for a, b in zip(ours, theirs, strict=True)])
    seeds, draws = by_seed.shape
    chosen = rng.integers(seeds, size=(seeds, draws))
    chosen[:, 0] = np.arange(seeds)
    return np.take_along_axis(by_seed, chosen, axis=0).mean(axis=0)


def interval(values: np.ndarray) -> Interval:
    """Return a difference on the dataset itself and the interval that contains 95 % of its resamples, from (R + 1,)."""
    draws = values[1:][~np.isnan(values[1:])]
    low, high = np.percentile(draws, [2.5, 97.5]) if len(draws) else (np.nan, np.nan)
    return Interval(float(values[0]), float(low), float(high))


def interval_of_ap(values: np.ndarray) -> Interval:
    """Return an AP on the dataset itself and an interval of 95 % around it, from values (R + 1,).

    Its bounds are as far from the AP as 95 % of the resamples are at most. AP is higher on few images than on many, and
    higher still on resamples, which repeat images, above all if many classes are in only a few: quantiles of the
    resamples would lie above the AP that many more images would give. In a difference of two models, most of this bias
    cancels out, and quantiles (`interval`) do as well.
    """
    draws = values[1:][~np.isnan(values[1:])]
    reach = np.percentile(np.abs(draws - values[0]), 95) if len(draws) else np.nan
    low, high = np.clip((values[0] - reach, values[0] + reach), 0.0, 1.0)
    return Interval(float(values[0]), float(low), float(high))
