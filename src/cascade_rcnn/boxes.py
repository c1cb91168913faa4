"""Boxes: equation 2 and its inverse, areas, overlaps. Computed in float32 whatever the autocast.

Shapes end in 4 and broadcast in front; a box is (x1, y1, x2, y2).
"""

import math

import torch
from torch import Tensor

MAX_LOG_SCALE = math.log(1000 / 16)  # a box grows at most 62.5 x in one step


def area(boxes: Tensor) -> Tensor:
    """(..., 4) -> (...). A box turned inside out has area 0."""
    width, height = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).unbind(-1)
    return width * height


def _intersection(a: Tensor, b: Tensor) -> Tensor:
    """(..., N, 4), (..., M, 4) -> (..., N, M)."""
    ax1, ay1, ax2, ay2 = a.unsqueeze(-2).unbind(-1)
    bx1, by1, bx2, by2 = b.mT.contiguous().unsqueeze(-2).unbind(-3)  # the long, inner dimension contiguous
    width = (torch.minimum(ax2, bx2) - torch.maximum(ax1, bx1)).clamp_(min=0)
    height = (torch.minimum(ay2, by2) - torch.maximum(ay1, by1)).clamp_(min=0)
    return width.mul_(height)


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union, (..., N, 4), (..., M, 4) -> (..., N, M); 0 where both boxes are empty."""
    shared = _intersection(a, b)
    union = (area(a)[..., :, None] + area(b)[..., None, :]).sub_(shared)
    return shared.div_(union.clamp_(min=1e-12))


def intersection_over_area(a: Tensor, b: Tensor) -> Tensor:
    """The fraction of each b that lies in a (COCO's overlap with a crowd), (..., N, 4), (..., M, 4) -> (..., N, M)."""
    return _intersection(a, b).div_(area(b)[..., None, :].clamp(min=1e-12))


def _centre_size(boxes: Tensor) -> tuple[Tensor, Tensor]:
    size = boxes[..., 2:] - boxes[..., :2]
    return boxes[..., :2] + 0.5 * size, size


def encode(boxes: Tensor, truth: Tensor) -> Tensor:
    """Equation 2: the distance vector from boxes to truth, (..., 4), (..., 4) -> (..., 4), not normalised.

    Boxes of no size (padding, degenerate proposals) give finite values, which the losses mask.
    """
    centre, size = _centre_size(boxes.float())
    truth_centre, truth_size = _centre_size(truth.float())
    size, truth_size = size.clamp(min=1e-6), truth_size.clamp(min=1e-6)
    return torch.cat([(truth_centre - centre) / size, torch.log(truth_size / size)], dim=-1)


def decode(boxes: Tensor, deltas: Tensor, clamp_shrink: bool = False) -> Tensor:
    """Inverse of `encode`: (..., 4), (..., 4) -> (..., 4). Growth (and, if asked, shrinking) is clamped to 62.5 x."""
    centre, size = _centre_size(boxes.float())
    shift, log_scale = deltas.float().split(2, dim=-1)
    log_scale = log_scale.clamp(min=-MAX_LOG_SCALE if clamp_shrink else None, max=MAX_LOG_SCALE)
    centre, half = centre + shift * size, 0.5 * size * log_scale.exp()
    return torch.cat([centre - half, centre + half], dim=-1)


def clip(boxes: Tensor, sizes: Tensor) -> Tensor:
    """Into the image: boxes (B, N, 4), sizes (B, 2) height and width -> (B, N, 4)."""
    limit = sizes.to(boxes.dtype).flip(-1).repeat(1, 2)[:, None]
    return torch.minimum(boxes.clamp(min=0), limit)


def nonempty(boxes: Tensor, min_size: float = 0.0) -> Tensor:
    """(..., 4) -> (...) bool: width and height are greater than `min_size` (False for NaN)."""
    return (boxes[..., 2:] - boxes[..., :2] > min_size).all(dim=-1)


def gather(values: Tensor, index: Tensor) -> Tensor:
    """Rows of each image: values (B, N, ...), index (B, K) -> (B, K, ...)."""
    shape = index.shape + (1,) * (values.ndim - 2)
    return values.gather(1, index.reshape(shape).expand(-1, -1, *values.shape[2:]))
