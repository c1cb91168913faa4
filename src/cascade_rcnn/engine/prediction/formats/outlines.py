"""Masks as polygons, for tools that have no run lengths."""

import numpy as np

from cascade_rcnn import rle
from cascade_rcnn.evaluation.detections import Outline
from cascade_rcnn.results import load_supervision


def polygons(mask: Outline | None) -> list[np.ndarray]:
    """Return the outlines of a mask's parts, through the centres of the pixels at its border: (n, 2) x and y each."""
    if mask is None:
        return []
    (left, top, *_), pixels = rle.crop(rle.from_string(mask.counts.encode()), mask.size[0])
    corner = np.array([left, top]) + 0.5
    return [points + corner for points in load_supervision().mask_to_polygons(pixels)]
