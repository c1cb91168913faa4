"""Scores of images: F1 averaged over the IoU thresholds 0.5 to 0.95, which rewards precise boxes."""

from typing import NamedTuple

import numpy as np

from cascade_rcnn.evaluation.coco import Array
from cascade_rcnn.reporting.evidence import Evidence


class ImageScores(NamedTuple):
    """Scores and counts of N images, from the detections at the report's threshold."""

    score: Array  # (N,), 0 to 1; NaN for images without objects and detections
    right: Array  # (N,) correct detections at IoU 0.5
    wrong: Array  # (N,) false positives
    missed: Array  # (N,) objects without a correct detection


def image_scores(evidence: Evidence) -> ImageScores:
    """Compute the score of each image."""
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
    """Return the images with the lowest scores, among those with errors; ties go to more errors."""
    order = np.lexsort((-(scores.wrong + scores.missed), np.nan_to_num(scores.score, nan=np.inf)))
    return [int(i) for i in order if scores.wrong[i] + scores.missed[i] > 0][:number]


def best(scores: ImageScores, number: int) -> list[int]:
    """Return the images with the highest scores; ties go to more correct detections."""
    order = np.lexsort((-scores.right, -np.nan_to_num(scores.score, nan=-1.0)))
    return [int(i) for i in order if scores.right[i] > 0][:number]
