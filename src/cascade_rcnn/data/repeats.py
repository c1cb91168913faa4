"""Repeat-factor sampling (Gupta et al. 2019, LVIS): images with rare classes are repeated within an epoch."""

import numpy as np

from cascade_rcnn.data.annotations import Annotations


def repeat_factors(annotations: Annotations, threshold: float) -> np.ndarray | None:
    """Return the repeat factor of each image per epoch, (N,), at least 1; None without a threshold.

    A class that f of all images show has max(1, sqrt(threshold / f)), and an image the most of its classes; boxes to
    be ignored do not count.
    """
    if threshold <= 0:
        return None
    images, classes = len(annotations), len(annotations.categories)
    owners = np.repeat(np.arange(images), annotations.first.diff().numpy())
    shown = np.zeros((images, classes), dtype=bool)
    learned = ~annotations.ignore.numpy()
    shown[owners[learned], annotations.labels.numpy()[learned] - 1] = True
    share = np.maximum(shown.sum(axis=0), 1) / images
    each = np.maximum(1.0, np.sqrt(threshold / share))
    return np.where(shown, each, 1.0).max(axis=1, initial=1.0)


def repeated(factors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return images in order, each repeated by its factor, rounded up or down at random.

    Their number is the same whatever is drawn: the sum of the factors, rounded. Image i lies on a line with the length
    of its factor, from which points are taken at equal distances, beginning anywhere.
    """
    number = round(float(factors.sum()))
    ends = np.cumsum(factors) * (number / factors.sum())
    return np.searchsorted(ends, np.arange(number) + rng.random(), side="right").clip(max=len(factors) - 1)
