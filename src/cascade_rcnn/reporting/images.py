"""Scores of images: F1, averaged over the IoU thresholds 0.5 to 0.95, so that precise boxes count."""

from typing import NamedTuple

import numpy as np

from cascade_rcnn.evaluation.coco import Array
from cascade_rcnn.reporting.evidence import Evidence


class ImageScores(NamedTuple):
    """Counts of the shown detections in each of N images."""

    score: Array  # (N,) 0..1; NaN in images without objects and detections
    right: Array  # (N,) detections that are right at IoU 0.5
    wrong: Array  # (N,)
    missed: Array  # (N,) objects


def image_scores(evidence: Evidence) -> ImageScores:
    """Count in each image."""
    matches, number = evidence.pairs.matches, len(evidence.truth)
    shown = matches.score >= evidence.threshold
    image, right, wrong = matches.image[shown], matches.right[shown], matches.wrong[shown]
    hits, misses = np.zeros((number, right.shape[1])), np.zeros((number, right.shape[1]))
    np.add.at(hits, image, right)
    np.add.at(misses, image, wrong)
    objects = matches.truth.sum(axis=1)
    total = hits + misses + objects[:, None]
    f1 = np.divide(2 * hits, total, out=np.full(total.shape, np.nan), where=total > 0)
    counts = (hits[:, 0].astype(np.int64), misses[:, 0].astype(np.int64))
    return ImageScores(f1.mean(axis=1), *counts, objects - counts[0])


def worst(scores: ImageScores, number: int) -> list[int]:
    """Return the images with the lowest scores; ties are sorted by most errors."""
    order = np.lexsort((-(scores.wrong + scores.missed), np.nan_to_num(scores.score, nan=np.inf)))
    return [int(i) for i in order if scores.wrong[i] + scores.missed[i] > 0][:number]


def best(scores: ImageScores, number: int) -> list[int]:
    """Return the images with the highest scores; ties are sorted by most objects."""
    order = np.lexsort((-scores.right, -np.nan_to_num(scores.score, nan=-1.0)))
    return [int(i) for i in order if scores.right[i] > 0][:number]
