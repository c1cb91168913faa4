"""Equations 1 and 4: the localization and classification risks, over dense batches with a mask.

Both are sums over the valid rows divided by `normalizer`; an all-masked batch gives 0 with (zero) gradients.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def smooth_l1(difference: Tensor, beta: float) -> Tensor:
    """Elementwise: 0.5 d^2 / beta for |d| < beta, |d| - 0.5 beta beyond; beta 0 is L1."""
    absolute = difference.abs()
    if beta == 0:
        return absolute
    return torch.where(absolute < beta, 0.5 * absolute.square() / beta, absolute - 0.5 * beta)


def localization(predicted: Tensor, target: Tensor, mask: Tensor, normalizer: Tensor, beta: float) -> Tensor:
    """Equation 1: predicted and target (..., 4) normalised deltas, mask (...) the positives -> scalar."""
    risk = smooth_l1(predicted.float() - target, beta).sum(-1)
    return torch.where(mask, risk, 0.0).sum() / normalizer


def classification(logits: Tensor, labels: Tensor, mask: Tensor, normalizer: Tensor) -> Tensor:
    """Equation 4: cross-entropy of logits (..., M + 1) against labels (...) in 0..M -> scalar."""
    risk = F.cross_entropy(logits.float().flatten(0, -2), labels.flatten(), reduction="none")
    return torch.where(mask.flatten(), risk, 0.0).sum() / normalizer


def objectness(logits: Tensor, positive: Tensor, mask: Tensor, normalizer: Tensor) -> Tensor:
    """Equation 4 for two classes (the RPN): logits (...), positive (...) bool -> scalar."""
    risk = F.binary_cross_entropy_with_logits(logits.float(), positive.float(), reduction="none")
    return torch.where(mask, risk, 0.0).sum() / normalizer
