"""Repeat-factor sampling (Gupta et al. 2019, LVIS): images with rare classes are repeated within an epoch."""

import numpy as np

from cascade_rcnn.data.annotations import Annotations


def repeat_factors(annotations: Annotations, threshold: float) -> np.ndarray | None:
    """Return the repeat factor of each image, (N,) floats of at least 1; None if the threshold is 0.

    A class in a fraction f of the images has the factor max(1, sqrt(threshold / f)), and an image has the largest
    factor of its classes. Ignored boxes do not count.
    """
    if threshold <= 0:
        return None
    shown = annotations.shown
    share = np.maximum(shown.sum(axis=0), 1) / len(annotations)
    each = np.maximum(1.0, np.sqrt(threshold / share))
    return np.where(shown, each, 1.0).max(axis=1, initial=1.0)


def repeated(factors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return image indices in order, each repeated by its factor, which is rounded up or down at random.

    This is systematic sampling: the images are intervals of a line, as long as their factors, and points at equal
    distances from a random start select them. Their number is thus always the same, the rounded sum of the factors.
    """
    number = round(float(factors.sum()))
    ends = np.cumsum(factors) * (number / factors.sum())
    return np.searchsorted(ends, np.arange(number) + rng.random(), side="right").clip(max=len(factors) - 1)
