"""Masks of detections in tiles."""

from collections.abc import Sequence

import numpy as np
import torch

from cascade_rcnn.masks import Masks


def place_masks(masks: Masks, window: Sequence[int], size: tuple[int, int]) -> Masks:
    """Place the masks of a tile with `window` (x1, y1, x2, y2) in the image of size (H, W)."""
    return masks.window(-window[1], -window[0], *size)


def unite_masks(masks: Masks) -> Masks:
    """Return the union of an object's masks in several tiles, as a single mask."""
    real = masks[masks.areas() > 0]
    if not len(real):
        return masks[torch.tensor([0])]
    x, y, x_end, y_end = [*real.bounds[:, :2].amin(dim=0).tolist(), *real.bounds[:, 2:].amax(dim=0).tolist()]
    whole = np.zeros((y_end - y, x_end - x), np.bool_)
    for (left, top, right, bottom), crop in zip(real.bounds.tolist(), real.crops(), strict=True):
        whole[top - y : bottom - y, left - x : right - x] |= crop
    return Masks.from_crops(masks.size, np.array([[x, y, x_end, y_end]]), [whole])
