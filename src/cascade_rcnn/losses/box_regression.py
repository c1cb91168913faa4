"""Equation 1, the localization loss: smooth L1 on deltas, or an IoU-based loss on decoded boxes."""

from functools import partial

import torch
from torch import Tensor

from cascade_rcnn.box_coder import BoxCoder
from cascade_rcnn.config import IoULossConfig, SmoothL1Config
from cascade_rcnn.protocols import BoxLoss


def smooth_l1(difference: Tensor, beta: float) -> Tensor:
    """Compute smooth L1 elementwise: 0.5 d^2 / beta for |d| < beta, else |d| - 0.5 beta; plain L1 if beta is 0."""
    absolute = difference.abs()
    if beta == 0:
        return absolute
    return torch.where(absolute < beta, 0.5 * absolute.square() / beta, absolute - 0.5 * beta)


class SmoothL1Loss:
    """Smooth L1 of normalised deltas, summed over the four coordinates (equation 1)."""

    def __init__(self, config: SmoothL1Config) -> None:
        self.config = config

    def __call__(self, deltas: Tensor, boxes: Tensor, truth: Tensor, coder: BoxCoder) -> Tensor:
        """Compute the loss per box: deltas, boxes, truth (..., 4) -> (...)."""
        difference = deltas.float() - coder.encode(boxes, truth)
        return self.config.weight * smooth_l1(difference, self.config.beta).sum(-1)


class IoULoss:
    """An IoU-based loss on decoded boxes; GIoU, DIoU and CIoU are torchvision's implementations."""

    def __init__(self, config: IoULossConfig) -> None:
        from torchvision import ops  # imported on demand: it takes as long as importing torch

        losses = {
            "iou": iou_loss,
            "bounded_iou": bounded_iou_loss,
            "giou": partial(ops.generalized_box_iou_loss, reduction="none"),
            "diou": partial(ops.distance_box_iou_loss, reduction="none"),
            "ciou": ciou_loss,
        }
        self.config, self._loss = config, losses[config.kind]

    def __call__(self, deltas: Tensor, boxes: Tensor, truth: Tensor, coder: BoxCoder) -> Tensor:
        """Compute the loss per box: deltas, boxes, truth (..., 4) -> (...)."""
        return self.config.weight * self._loss(coder.decode(boxes, deltas), truth.float())


def ciou_loss(found: Tensor, truth: Tensor) -> Tensor:
    """Compute the CIoU loss with sides of at least 0.01 pixels, as that of a box without height is not finite.

    Boxes (..., 4) -> (...).
    """
    from torchvision.ops import complete_box_iou_loss

    found, truth = (torch.cat([x[..., :2], torch.maximum(x[..., 2:], x[..., :2] + 0.01)], -1) for x in (found, truth))
    return complete_box_iou_loss(found, truth, reduction="none")


def iou_loss(found: Tensor, truth: Tensor) -> Tensor:
    """Compute the negative log IoU (Yu et al. 2016), with the IoU clamped to 1e-6: boxes (..., 4) -> (...)."""
    low, high = torch.maximum(found[..., :2], truth[..., :2]), torch.minimum(found[..., 2:], truth[..., 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    areas = [(x[..., 2:] - x[..., :2]).prod(-1) for x in (found, truth)]
    return -(shared / (areas[0] + areas[1] - shared).clamp(min=1e-6)).clamp(min=1e-6).log()


def bounded_iou_loss(found: Tensor, truth: Tensor) -> Tensor:
    """Compute the bounded IoU loss (Tychsen-Smith and Petersson 2018) with smooth L1 (beta 0.2): (..., 4) -> (...).

    Each coordinate's term is one minus the highest IoU that a box with this error in the coordinate can reach.
    """
    eps = 1e-3  # pixels
    size, wanted = (x[..., 2:] - x[..., :2] for x in (found, truth))
    apart = 2 * ((truth[..., :2] + truth[..., 2:] - found[..., :2] - found[..., 2:]) / 2).abs()
    by_centre = 1 - torch.maximum((wanted - apart) / (wanted + apart + eps), torch.zeros_like(apart))
    by_size = 1 - torch.minimum(wanted / (size + eps), size / (wanted + eps))
    return smooth_l1(torch.cat([by_centre, by_size], dim=-1), beta=0.2).sum(-1)


def localization(
    loss: BoxLoss, deltas: Tensor, boxes: Tensor, truth: Tensor, coder: BoxCoder, *, mask: Tensor, normalizer: Tensor
) -> Tensor:
    """Compute the localization loss of the positives: deltas, boxes, truth (..., 4), mask (...) -> scalar."""
    # Masked boxes, which may be empty or NaN, become (0, 0, 1, 1); copying a constant would wait for the GPU.
    unit = (torch.arange(4, device=boxes.device) // 2).to(boxes.dtype)
    boxes, truth = (torch.where(mask[..., None], x, unit) for x in (boxes, truth))
    risk = loss(deltas, boxes, truth, coder)
    return torch.where(mask, risk, 0.0).sum() / normalizer
