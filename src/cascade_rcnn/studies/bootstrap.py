"""How sure a difference of AP is: the paired bootstrap over images.

The validation images are drawn again, as many and with replacement; both models are evaluated on the same draw. The
interval is of the images' chance; the trainings' chance is the standard deviation over seeds.

R resamples · N images · ten IoU thresholds
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
    """A model's AP minus another's, in 0..1, with the 95 % interval over images."""

    mean: float
    low: float
    high: float


def resampled(matches: Matches, number: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """AP at the ten IoUs on the set itself (row 0), then on `number` resamples: (R + 1, 10).

    The draws depend on the seed and the number of images alone, so that models on one set meet the same ones.
    """
    precision = AveragePrecision(matches)
    rng, images = np.random.default_rng(seed), len(matches.truth)
    draws = (rng.multinomial(images, np.full(images, 1 / images)) for _ in range(number))
    return np.stack([precision(), *(precision(weights) for weights in draws)])


def column(by_iou: np.ndarray, metric: str) -> np.ndarray:
    """`ap` or `ap50`, `ap55`, ..., `ap95` of rows (..., 10)."""
    return by_iou.mean(axis=-1) if metric == "ap" else by_iou[..., _AT[metric]]


def paired(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray], metric: str) -> Difference:
    """The difference of two models, averaged over seeds: each a list of (R + 1, 10), one a seed, on the same draws.

    Raises UserError where they were evaluated on different numbers of resamples.
    """
    if {x.shape for x in ours} != {x.shape for x in theirs}:
        raise UserError("the runs to compare were resampled differently; render the study anew")
    difference = np.mean([column(a, metric) for a in ours], axis=0) - np.mean(
        [column(b, metric) for b in theirs], axis=0
    )
    low, high = np.nanpercentile(difference[1:], [2.5, 97.5]) if len(difference) > 1 else (np.nan, np.nan)
    return Difference(float(difference[0]), float(low), float(high))
