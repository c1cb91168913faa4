"""Conversion of masks to polygons, for tools that do not support run lengths."""

from collections.abc import Sequence

import numpy as np

from cascade_rcnn import rle
from cascade_rcnn.evaluation.detections import Outline
from cascade_rcnn.results import load_supervision


def outline(mask: Outline | None, *, finer: int = 1) -> np.ndarray | None:
    """Return the outline of a mask: one polygon (n, 2) of x and y in pixels, None without a mask or if it is empty.

    From one part or hole of the mask to another, it goes there and back along the same line. Of several polygons, tools
    would make several objects, and fill the holes.
    """
    parts = _polygons(mask, finer) if mask is not None else []
    return _joined(parts) if parts else None


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Join polygons (n, 2) by lines between their nearest points, there and back, which enclose no area."""
    whole = parts[0]
    for part in parts[1:]:
        distances = ((whole[:, None] - part[None]) ** 2).sum(axis=2)
        i, j = np.unravel_index(distances.argmin(), distances.shape)
        whole = np.concatenate((whole[: i + 1], part[j:], part[: j + 1], whole[i:]))
    return whole


def _polygons(mask: Outline, finer: int) -> list[np.ndarray]:
    """Return the outlines of a mask's parts and holes, polygons (n, 2) of x and y in pixels.

    They pass through the centres of the mask's border pixels. `finer` divides each pixel into that many along each
    axis, so that outlines are closer to the edges: from 2 on, COCO's rasterisation restores the mask exactly, and even
    the thinnest part has an outline.
    """
    (left, top, *_), pixels = rle.crop(rle.from_string(mask.counts.encode()), mask.size[0])
    cut = np.kron(pixels, np.ones((finer, finer), pixels.dtype))
    return [(points + 0.5) / finer + (left, top) for points in load_supervision().mask_to_polygons(cut)]
