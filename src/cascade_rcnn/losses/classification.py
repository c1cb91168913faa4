"""Equation 4: cross-entropy over classes, and binary cross-entropy for objectness."""

import torch
import torch.nn.functional as F
from torch import Tensor


def classification(logits: Tensor, labels: Tensor, mask: Tensor, normalizer: Tensor) -> Tensor:
    """Compute equation 4, the cross-entropy of logits (..., M + 1) against labels (...) in 0..M -> scalar."""
    risk = F.cross_entropy(logits.float().flatten(0, -2), labels.flatten(), reduction="none")
    return torch.where(mask.flatten(), risk, 0.0).sum() / normalizer


def objectness(logits: Tensor, positive: Tensor, mask: Tensor, normalizer: Tensor) -> Tensor:
    """Compute equation 4 for two classes, as in the RPN: logits (...), positive (...) bool -> scalar."""
    risk = F.binary_cross_entropy_with_logits(logits.float(), positive.float(), reduction="none")
    return torch.where(mask, risk, 0.0).sum() / normalizer
