"""The mean difference over several sets, with intervals over images and seeds."""

from collections.abc import Mapping, Sequence

import numpy as np

from cascade_rcnn.evaluation.bootstrap import Interval, difference_draws, interval


def difference(
    ours: Mapping[str, Sequence[np.ndarray]], theirs: Mapping[str, Sequence[np.ndarray]], metric: str
) -> Interval:
    """Return the mean difference over sets, which are resampled independently."""
    rng = np.random.default_rng(0)
    return interval(np.mean([difference_draws(ours[name], theirs[name], metric, rng) for name in ours], axis=0))
