"""Masks as polygons, for tools that have no run lengths."""

import numpy as np

from cascade_rcnn import rle
from cascade_rcnn.evaluation.detections import Outline
from cascade_rcnn.results import load_supervision


def polygons(mask: Outline | None, *, finer: int = 1) -> list[np.ndarray]:
    """Return the outlines of a mask's parts and holes, (n, 2) x and y each.

    They pass through the centres of the pixels at its border; with each pixel cut `finer`, nearer to its edges: from 2
    on, COCO's rasterisation gives the very mask, and no part is too thin to have an outline.
    """
    if mask is None:
        return []
    (left, top, *_), pixels = rle.crop(rle.from_string(mask.counts.encode()), mask.size[0])
    cut = np.kron(pixels, np.ones((finer, finer), pixels.dtype))
    return [(points + 0.5) / finer + (left, top) for points in load_supervision().mask_to_polygons(cut)]
