"""Differences between runs with the same seeds, with intervals over images and seeds."""

from collections.abc import Mapping, Sequence

import numpy as np

from cascade_rcnn.evaluation.bootstrap import Interval, column, interval


def drawn(
    ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray], metric: str, rng: np.random.Generator
) -> np.ndarray:
    """Return the difference on the set itself (entry 0) and on resamples of its images and of the seeds: (R + 1,).

    Both are given by seed, each (R + 1, 10) on the same draws of images. Seeds are drawn in pairs: a run and its
    counterpart.
    """
    by_seed = np.stack([column(a, metric) - column(b, metric) for a, b in zip(ours, theirs, strict=True)])
    seeds, draws = by_seed.shape
    chosen = rng.integers(seeds, size=(seeds, draws))
    chosen[:, 0] = np.arange(seeds)
    return np.take_along_axis(by_seed, chosen, axis=0).mean(axis=0)


def difference(
    ours: Mapping[str, Sequence[np.ndarray]], theirs: Mapping[str, Sequence[np.ndarray]], metric: str
) -> Interval:
    """Return the mean difference over sets, which are resampled independently."""
    rng = np.random.default_rng(0)
    return interval(np.mean([drawn(ours[name], theirs[name], metric, rng) for name in ours], axis=0))
