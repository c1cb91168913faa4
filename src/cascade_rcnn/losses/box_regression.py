"""Equation 1, the localization risk: smooth L1 loss on deltas, or a generalised IoU loss on decoded boxes."""

import torch
from torch import Tensor

from cascade_rcnn.box_coder import BoxCoder
from cascade_rcnn.config import IoULossConfig, SmoothL1Config
from cascade_rcnn.protocols import BoxLoss


def smooth_l1(difference: Tensor, beta: float) -> Tensor:
    """Compute smooth L1 elementwise: 0.5 d^2 / beta for |d| < beta, else |d| - 0.5 beta; beta 0 is L1."""
    absolute = difference.abs()
    if beta == 0:
        return absolute
    return torch.where(absolute < beta, 0.5 * absolute.square() / beta, absolute - 0.5 * beta)


class SmoothL1Loss:
    """Smooth L1 of normalised deltas, summed over the four coordinates (equation 1)."""

    def __init__(self, config: SmoothL1Config) -> None:
        self.config = config

    def __call__(self, deltas: Tensor, boxes: Tensor, truth: Tensor, coder: BoxCoder) -> Tensor:
        """Deltas, boxes, truth (..., 4) -> (...)."""
        difference = deltas.float() - coder.encode(boxes, truth)
        return self.config.weight * smooth_l1(difference, self.config.beta).sum(-1)


class IoULoss:
    """One minus GIoU, DIoU or CIoU of the decoded boxes, by torchvision's functions."""

    def __init__(self, config: IoULossConfig) -> None:
        from torchvision import ops  # imported only when needed: it takes as long as importing torch

        losses = {
            "giou": ops.generalized_box_iou_loss,
            "diou": ops.distance_box_iou_loss,
            "ciou": ops.complete_box_iou_loss,
        }
        self.config, self._loss = config, losses[config.kind]

    def __call__(self, deltas: Tensor, boxes: Tensor, truth: Tensor, coder: BoxCoder) -> Tensor:
        """Deltas, boxes, truth (..., 4) -> (...)."""
        return self.config.weight * self._loss(coder.decode(boxes, deltas), truth.float(), reduction="none")


def localization(
    loss: BoxLoss, deltas: Tensor, boxes: Tensor, truth: Tensor, coder: BoxCoder, *, mask: Tensor, normalizer: Tensor
) -> Tensor:
    """Compute the localization risk of the positives: deltas, boxes, truth (..., 4), mask (...) -> scalar."""
    unit = boxes.new_tensor([0.0, 0.0, 1.0, 1.0])  # replaces masked boxes, which may be empty or NaN
    boxes, truth = (torch.where(mask[..., None], x, unit) for x in (boxes, truth))
    risk = loss(deltas, boxes, truth, coder)
    return torch.where(mask, risk, 0.0).sum() / normalizer
