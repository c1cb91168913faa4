"""Non-maximum suppression of a whole batch, with dense inputs and outputs.

A single operator with static shapes keeps graphs free of data-dependent shapes: torch.compile handles it without graph
breaks, and exporters replace it by `single_call` or by the format's own operator.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from cascade_rcnn.operators import define, nms

_BOXES_A_CALL = 16384  # their pairwise bit mask takes 32 MB


def keep_mask(boxes: Tensor, scores: Tensor, groups: Tensor, valid: Tensor, iou: float) -> Tensor:
    """Return which boxes survive greedy NMS within the same image and group.

    boxes (B, N, 4), scores (B, N), groups (B, N) int64 >= 0 (a class or pyramid level), valid (B, N) -> (B, N) bool.
    Groups are separated by offsets, computed in float64 so that boxes keep their precision. All invalid slots become
    the same box, so that the first of them suppresses the rest.
    """
    return OPERATOR(boxes.detach(), scores.detach(), groups, valid, iou)


def _keep_mask(boxes: Tensor, scores: Tensor, groups: Tensor, valid: Tensor, iou: float) -> Tensor:
    if valid.numel() == 0:
        return torch.empty_like(valid)
    if boxes.device.type == "mps":  # which has no float64
        return _keep_mask(boxes.cpu(), scores.cpu(), groups.cpu(), valid.cpu(), iou).to(boxes.device)
    # torchvision's kernels are quadratic in the number of boxes. A CPU is fastest with one call per image; on a GPU,
    # the overhead of a call dominates up to some number of boxes.
    images = 1 if boxes.device.type == "cpu" else max(1, _BOXES_A_CALL // valid.shape[1])
    parts = zip(*(x.split(images) for x in (boxes, scores, groups, valid)), strict=True)
    return torch.cat([single_call(b, s, g, v, iou) for b, s, g, v in parts])


OPERATOR = define("keep_mask", _keep_mask, lambda boxes, scores, groups, valid, iou: torch.empty_like(valid))


def single_call(boxes: Tensor, scores: Tensor, groups: Tensor, valid: Tensor, iou: float) -> Tensor:
    """Compute `keep_mask` with one call of torchvision's operator, for graphs that cannot contain custom operators."""
    image = torch.arange(boxes.shape[0], device=boxes.device)[:, None]
    spaced = _spaced(boxes, groups + image * (groups.amax() + 1), valid).flatten(0, 1)
    # torch.export assumes that NMS keeps at least two boxes: add two that score below all others.
    two, unit = torch.arange(2, device=boxes.device)[:, None], torch.arange(4, device=boxes.device) // 2
    alone = spaced.amin() - 4 + 2 * two + unit  # (no torch.tensor: a decomposition must not contain constants)
    score = F.pad(torch.where(valid, scores.double(), -torch.inf).flatten(), (0, 2), value=-torch.inf)
    index = nms(torch.cat([spaced, alone]), score, iou)
    mask = torch.zeros(score.shape[0], dtype=torch.bool, device=boxes.device).index_fill(0, index, True)
    return mask[:-2].view_as(valid) & valid


def _spaced(boxes: Tensor, groups: Tensor, valid: Tensor) -> Tensor:
    """Return the boxes in float64, with groups offset so that they do not overlap."""
    real = valid.unsqueeze(-1)
    boxes = torch.where(real, boxes.double(), 0.0)  # invalid slots may hold anything, even NaN
    step = 2 * (boxes.abs().amax() + 1)
    unit = torch.arange(4, device=boxes.device) // 2  # (0, 0, 1, 1)
    return torch.where(real, boxes + (groups + 1).unsqueeze(-1) * step, unit - step)
