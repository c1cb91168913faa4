"""Non-maximum suppression of a whole batch, dense in and dense out.

One operator of static shapes, so that a graph that holds it has none that depends on data: torch.compile takes it
whole, and an export replaces it (by `single_call`, or by the format's own operator).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from cascade_rcnn.operators import define, nms

_BOXES_A_CALL = 16384  # their pairs take 32 MB as bits


def keep_mask(boxes: Tensor, scores: Tensor, groups: Tensor, valid: Tensor, iou: float) -> Tensor:
    """Which boxes survive greedy NMS among those of the same image and group.

    boxes (B, N, 4), scores (B, N), groups (B, N) int64 >= 0 (a class or pyramid level), valid (B, N) -> (B, N) bool.
    Groups are kept apart by an offset, in float64 where no offset costs precision. Slots that are not valid become
    one and the same box, so that the first of them suppresses the others at once.
    """
    return OPERATOR(boxes.detach(), scores.detach(), groups, valid, iou)


def _keep_mask(boxes: Tensor, scores: Tensor, groups: Tensor, valid: Tensor, iou: float) -> Tensor:
    if valid.numel() == 0:
        return torch.empty_like(valid)
    # torchvision's kernels are quadratic in the boxes of a call: on a CPU each image has its own, on a GPU a call costs
    # more than its boxes, up to some number of them.
    images = 1 if boxes.device.type == "cpu" else max(1, _BOXES_A_CALL // valid.shape[1])
    parts = zip(*(x.split(images) for x in (boxes, scores, groups, valid)), strict=True)
    return torch.cat([single_call(b, s, g, v, iou) for b, s, g, v in parts])


OPERATOR = define("keep_mask", _keep_mask, lambda boxes, scores, groups, valid, iou: torch.empty_like(valid))


def single_call(boxes: Tensor, scores: Tensor, groups: Tensor, valid: Tensor, iou: float) -> Tensor:
    """`keep_mask` by torchvision's operator, once for all images: what a graph without ours can hold."""
    image = torch.arange(boxes.shape[0], device=boxes.device)[:, None]
    spaced = _spaced(boxes, groups + image * (groups.amax() + 1), valid).flatten(0, 1)
    # torch.export takes it that NMS keeps two boxes at least: here are two, below all others.
    two, unit = torch.arange(2, device=boxes.device)[:, None], torch.arange(4, device=boxes.device) // 2
    alone = spaced.amin() - 4 + 2 * two + unit  # (no torch.tensor: a decomposition must not hold constants)
    score = F.pad(torch.where(valid, scores.double(), -torch.inf).flatten(), (0, 2), value=-torch.inf)
    index = nms(torch.cat([spaced, alone]), score, iou)
    mask = torch.zeros(score.shape[0], dtype=torch.bool, device=boxes.device).index_fill(0, index, True)
    return mask[:-2].view_as(valid) & valid


def _spaced(boxes: Tensor, groups: Tensor, valid: Tensor) -> Tensor:
    """The boxes, float64, with their groups apart."""
    real = valid.unsqueeze(-1)
    boxes = torch.where(real, boxes.double(), 0.0)  # whatever an invalid slot holds, NaN too, has no say
    step = 2 * (boxes.abs().amax() + 1)
    unit = torch.arange(4, device=boxes.device) // 2  # (0, 0, 1, 1)
    return torch.where(real, boxes + (groups + 1).unsqueeze(-1) * step, unit - step)
