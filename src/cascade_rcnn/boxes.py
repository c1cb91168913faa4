"""Box operations: equation 2 and its inverse, areas and overlaps, in float32 even under autocast.

The last dimension is (x1, y1, x2, y2); leading dimensions broadcast.
"""

import math

import torch
from torch import Tensor

MAX_LOG_SCALE = math.log(1000 / 16)  # a box grows at most 62.5x in one step


def to_xyxy(boxes: Tensor) -> Tensor:
    """Convert boxes to XYXY, as a plain float32 tensor; torchvision's `BoundingBoxes` know their own format."""
    if type(boxes) is not Tensor:
        from torchvision import tv_tensors  # imported on demand: it takes as long as importing torch
        from torchvision.transforms.v2 import functional

        if isinstance(boxes, tv_tensors.BoundingBoxes):
            boxes = functional.convert_bounding_box_format(boxes, new_format=tv_tensors.BoundingBoxFormat.XYXY)
    return boxes.as_subclass(Tensor).float()


def from_xywh(boxes: Tensor) -> Tensor:
    """Convert boxes (N, 4) from COCO's XYWH, keeping their precision."""
    corner, size = boxes.split(2, dim=1)
    return torch.cat([corner, corner + size], dim=1)


def to_xywh(boxes: Tensor) -> Tensor:
    """Convert boxes (N, 4) to COCO's XYWH, keeping their precision."""
    low, high = boxes.split(2, dim=1)
    return torch.cat([low, high - low], dim=1)


def area(boxes: Tensor) -> Tensor:
    """Compute areas, (..., 4) -> (...); 0 for boxes with x2 < x1 or y2 < y1."""
    width, height = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).unbind(-1)
    return width * height


def _intersection(a: Tensor, b: Tensor) -> Tensor:
    """Compute pairwise intersection areas: (..., N, 4), (..., M, 4) -> (..., N, M)."""
    ax1, ay1, ax2, ay2 = a.unsqueeze(-2).unbind(-1)
    bx1, by1, bx2, by2 = b.mT.contiguous().unsqueeze(-2).unbind(-3)  # keeps the long inner dimension contiguous
    width = (torch.minimum(ax2, bx2) - torch.maximum(ax1, bx1)).clamp_(min=0)
    height = (torch.minimum(ay2, by2) - torch.maximum(ay1, by1)).clamp_(min=0)
    return width.mul_(height)


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Compute pairwise IoU, (..., N, 4), (..., M, 4) -> (..., N, M); 0 if both boxes are empty."""
    shared = _intersection(a, b)
    union = (area(a)[..., :, None] + area(b)[..., None, :]).sub_(shared)
    return shared.div_(union.clamp_(min=1e-12))


def intersection_over_area(a: Tensor, b: Tensor) -> Tensor:
    """Compute the fraction of each b inside each a (COCO's crowd overlap): (..., N, 4), (..., M, 4) -> (..., N, M)."""
    return _intersection(a, b).div_(area(b)[..., None, :].clamp(min=1e-12))


def _centre_size(boxes: Tensor) -> tuple[Tensor, Tensor]:
    size = boxes[..., 2:] - boxes[..., :2]
    return boxes[..., :2] + 0.5 * size, size


def encode(boxes: Tensor, truth: Tensor) -> Tensor:
    """Compute the unnormalised deltas from boxes to truth (equation 2): (..., 4), (..., 4) -> (..., 4).

    Empty boxes (padding, degenerate proposals) give finite values, which the losses mask out.
    """
    centre, size = _centre_size(boxes.float())
    truth_centre, truth_size = _centre_size(truth.float())
    size, truth_size = size.clamp(min=1e-6), truth_size.clamp(min=1e-6)
    return torch.cat([(truth_centre - centre) / size, torch.log(truth_size / size)], dim=-1)


def decode(boxes: Tensor, deltas: Tensor, clamp_shrink: bool = False) -> Tensor:
    """Invert `encode`: (..., 4), (..., 4) -> (..., 4). Growth, and optionally shrinking, is clamped to 62.5x."""
    centre, size = _centre_size(boxes.float())
    shift, log_scale = deltas.float().split(2, dim=-1)
    log_scale = log_scale.clamp(min=-MAX_LOG_SCALE if clamp_shrink else None, max=MAX_LOG_SCALE)
    centre, half = centre + shift * size, 0.5 * size * log_scale.exp()
    return torch.cat([centre - half, centre + half], dim=-1)


def clip(boxes: Tensor, sizes: Tensor) -> Tensor:
    """Clip boxes (B, N, 4) to images of height and width `sizes` (B, 2): (B, N, 4)."""
    limit = sizes.to(boxes.dtype).flip(-1).repeat(1, 2)[:, None]
    return torch.minimum(boxes.clamp(min=0), limit)


def nonempty(boxes: Tensor, min_size: float = 0.0) -> Tensor:
    """Return whether width and height exceed `min_size` (False for NaN): (..., 4) -> (...) bool."""
    return (boxes[..., 2:] - boxes[..., :2] > min_size).all(dim=-1)


def gather(values: Tensor, index: Tensor) -> Tensor:
    """Select rows per image: values (B, N, ...), index (B, K) -> (B, K, ...)."""
    shape = index.shape + (1,) * (values.ndim - 2)
    return values.gather(1, index.reshape(shape).expand(-1, -1, *values.shape[2:]))
