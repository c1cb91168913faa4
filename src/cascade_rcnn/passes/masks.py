"""Masks (N, 1, H, W) of detections, in torchvision's format, through tiles and flips."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor


def place_masks(masks: Tensor, window: Sequence[int], size: tuple[int, int]) -> Tensor:
    """Place the masks of a tile in the image (H, W), with zeros around them."""
    (x1, y1, x2, y2), (height, width) = window, size
    return F.pad(masks, (x1, width - x2, y1, height - y2))


def unite_masks(masks: Tensor) -> Tensor:
    """Unite the masks that several tiles show of one object: (G, 1, H, W) -> (1, H, W)."""
    return masks.amax(dim=0)
