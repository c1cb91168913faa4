"""Conversion of masks to polygons, for tools that do not support run lengths."""

import numpy as np

from cascade_rcnn import rle
from cascade_rcnn.evaluation.detections import Outline
from cascade_rcnn.results import load_supervision


def polygons(mask: Outline | None, *, finer: int = 1) -> list[np.ndarray]:
    """Return the outlines of a mask's parts and holes, polygons (n, 2) of x and y in pixels; none without a mask.

    They pass through the centres of the mask's border pixels. `finer` divides each pixel into that many along each
    axis, so that outlines are closer to the edges: from 2 on, COCO's rasterisation restores the mask exactly, and even
    the thinnest part has an outline.
    """
    if mask is None:
        return []
    (left, top, *_), pixels = rle.crop(rle.from_string(mask.counts.encode()), mask.size[0])
    cut = np.kron(pixels, np.ones((finer, finer), pixels.dtype))
    return [(points + 0.5) / finer + (left, top) for points in load_supervision().mask_to_polygons(cut)]
