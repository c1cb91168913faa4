"""Confidence intervals of differences in AP: the paired bootstrap over images.

The validation images are drawn with replacement, as many as there are, and both models are evaluated on the same draw.
The interval covers the choice of images; the standard deviation over seeds covers the randomness of training.

R resamples · ten IoU thresholds
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cascade_rcnn.errors import UserError
from cascade_rcnn.evaluation.coco import IOU_THRESHOLDS
from cascade_rcnn.evaluation.matches import AveragePrecision, Matches

RESAMPLES = 500
_AT = {f"ap{round(100 * u)}": k for k, u in enumerate(IOU_THRESHOLDS)}


class Difference(NamedTuple):
    """The AP of one model minus that of another, in 0..1, with its 95 % interval over images."""

    mean: float
    low: float
    high: float


def resample(matches: Matches, number: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """Return AP at the ten IoU thresholds on the set itself (row 0) and on `number` resamples: (R + 1, 10).

    The draws depend only on the seed and the number of images: all models of a set are evaluated on the same ones.
    """
    precision = AveragePrecision(matches)
    rng, images = np.random.default_rng(seed), len(matches.truth)
    draws = (rng.multinomial(images, np.full(images, 1 / images)) for _ in range(number))
    return np.stack([precision(), *(precision(weights) for weights in draws)])


def column(by_iou: np.ndarray, metric: str) -> np.ndarray:
    """Select `ap`, the mean over thresholds, or one of `ap50`, `ap55`, ..., `ap95` from rows (..., 10)."""
    return by_iou.mean(axis=-1) if metric == "ap" else by_iou[..., _AT[metric]]


def paired_difference(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray], metric: str) -> Difference:
    """Compare two models, given as arrays (R + 1, 10) on the same draws, one for each seed; seeds are averaged.

    Raises UserError if their numbers of resamples differ.
    """
    if {x.shape for x in ours} != {x.shape for x in theirs}:
        raise UserError("the runs to compare have different numbers of resamples; render the study again")
    difference = np.mean([column(a, metric) for a in ours], axis=0) - np.mean(
        [column(b, metric) for b in theirs], axis=0
    )
    low, high = np.nanpercentile(difference[1:], [2.5, 97.5]) if len(difference) > 1 else (np.nan, np.nan)
    return Difference(float(difference[0]), float(low), float(high))
