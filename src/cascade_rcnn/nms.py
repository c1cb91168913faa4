"""Non-maximum suppression of a whole batch, with dense inputs and outputs.

A single operator with static shapes keeps graphs free of data-dependent shapes: torch.compile handles it without graph
breaks, and exporters replace it by `single_call` or by the format's own operator.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from cascade_rcnn.boxes import gather
from cascade_rcnn.operators import define, nms

_MOST_DENSE = 4096  # boxes of an image whose pairs are all compared at once on a GPU
_PAIRS_AT_ONCE = 2**24  # each takes up to 20 bytes


def keep_mask(boxes: Tensor, scores: Tensor, groups: Tensor, valid: Tensor, iou: float) -> Tensor:
    """Return which boxes survive greedy NMS within the same image and group.

    boxes (B, N, 4), scores (B, N), groups (B, N) int64 >= 0 (a class or pyramid level), valid (B, N) -> (B, N) bool.
    On a CPU, groups are separated by offsets, in float64 so that boxes keep their precision, and all invalid slots
    become the same box, so that the first of them suppresses the rest. A GPU compares all pairs, in float32, unless
    an image has more than 4,096 valid boxes.
    """
    return OPERATOR(boxes.detach(), scores.detach(), groups, valid, iou)


def _keep_mask(boxes: Tensor, scores: Tensor, groups: Tensor, valid: Tensor, iou: float) -> Tensor:
    if valid.numel() == 0:
        return torch.empty_like(valid)
    if boxes.device.type == "mps":  # which has no float64, and has not been tried with the dense method
        return _keep_mask(boxes.cpu(), scores.cpu(), groups.cpu(), valid.cpu(), iou).to(boxes.device)
    if boxes.device.type == "cpu" or (number := int(valid.sum(dim=1).max())) > _MOST_DENSE:
        return _each_image(boxes, scores, groups, valid, iou)
    return _dense(boxes, scores, groups, valid, iou, number)


def _each_image(boxes: Tensor, scores: Tensor, groups: Tensor, valid: Tensor, iou: float) -> Tensor:
    """Call torchvision's operator for one image at a time, because its time is quadratic in the number of boxes."""
    parts = zip(*(x.split(1) for x in (boxes, scores, groups, valid)), strict=True)
    return torch.cat([single_call(b, s, g, v, iou) for b, s, g, v in parts])


def _dense(boxes: Tensor, scores: Tensor, groups: Tensor, valid: Tensor, iou: float, number: int) -> Tensor:
    """Compare all pairs of the up to `number` valid boxes of each image, for several images at once."""
    order = torch.where(valid, scores, -torch.inf).argsort(dim=1, descending=True, stable=True)[:, :number]
    ranked = (gather(boxes, order).float(), groups.gather(1, order), valid.gather(1, order))
    images = max(1, _PAIRS_AT_ONCE // max(1, number) ** 2)
    parts = zip(*(x.split(images) for x in ranked), strict=True)
    kept = [survivors(b, g, v, iou) for b, g, v in parts]
    return torch.zeros_like(valid).scatter(1, order, torch.cat(kept))


def survivors(boxes: Tensor, groups: Tensor, valid: Tensor, iou: float) -> Tensor:
    """Return which boxes (B, N, 4), sorted by score, survive greedy NMS: groups (B, N), valid (B, N) -> (B, N) bool.

    A GPU visits the boxes in parallel rather than one after the other, in rounds: every box that the current survivors
    do not suppress survives the round. A box depends only on those before it, so that after round k at least the first
    k are final; when a round changes nothing, the result is that of greedy NMS ("Cluster-NMS", Zheng et al. 2021). The
    number of rounds follows the longest chain in which each box suppresses the next.
    """
    suppresses = _overlap(boxes, iou).logical_and_(groups[:, :, None] == groups[:, None]).triu_(1).half()
    kept = valid
    with torch.autocast(boxes.device.type, enabled=False):  # in half precision whatever the detector's is
        while True:
            suppressed = torch.bmm(kept[:, None].half(), suppresses)[:, 0] > 0
            after = valid & ~suppressed
            if torch.equal(after, kept):
                return kept
            kept = after


def _overlap(boxes: Tensor, iou: float) -> Tensor:
    """Return which pairs of boxes (B, N, 4) have an IoU above `iou`: (B, N, N)."""
    low, high = boxes[..., :2], boxes[..., 2:]
    sides = []
    for axis in (0, 1):
        end = torch.minimum(high[:, :, None, axis], high[:, None, :, axis])
        sides.append(end.sub_(torch.maximum(low[:, :, None, axis], low[:, None, :, axis])).clamp_(min=0))
    inter = sides[0].mul_(sides[1])
    area = (high - low).prod(dim=-1)
    return inter.div_((area[:, :, None] + area[:, None]).sub_(inter)) > iou


OPERATOR = define(
    "keep_mask", _keep_mask, lambda boxes, scores, groups, valid, iou: torch.empty_like(valid), waits=True
)


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
