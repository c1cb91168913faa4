"""Non-maximum suppression of a whole batch, dense in and dense out."""

import torch
from torch import Tensor
from torchvision.ops import nms


def keep_mask(boxes: Tensor, scores: Tensor, groups: Tensor, valid: Tensor, iou: float) -> Tensor:
    """Which boxes survive greedy NMS among those of the same image and group.

    boxes (B, N, 4), scores (B, N), groups (B, N) int64 >= 0 (a class or pyramid level), valid (B, N) -> (B, N) bool.
    Groups are kept apart by an offset, in float64 where no offset costs precision. Slots that are not valid become
    one and the same box, so that the first of them suppresses the others at once.
    """
    real = valid.unsqueeze(-1)
    boxes = torch.where(real, boxes.detach().double(), 0.0)  # whatever an invalid slot holds, NaN too, has no say
    step = 2 * (boxes.abs().amax() + 1) if boxes.numel() else boxes.new_ones(())
    spaced = torch.where(real, boxes + (groups + 1).unsqueeze(-1) * step, boxes.new_tensor([0.0, 0.0, 1.0, 1.0]) - step)
    scores = torch.where(valid, scores.float(), -torch.inf)
    # torchvision's kernels are quadratic in the boxes of a call, so each image has its own.
    kept = [_mask(b, s, iou) for b, s in zip(spaced, scores, strict=True)]
    return torch.stack(kept) & valid


def _mask(boxes: Tensor, scores: Tensor, iou: float) -> Tensor:
    index = nms(boxes, scores.to(boxes.dtype), iou)
    return torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device).index_fill(0, index, True)
