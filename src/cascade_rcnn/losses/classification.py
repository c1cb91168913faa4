"""Equation 4: the loss and the probabilities of class logits, and binary cross-entropy for objectness."""

import torch
import torch.nn.functional as F
from torch import Tensor

from cascade_rcnn.protocols import Classification


class Softmax:
    """Exclusive classes, one of which is the background: cross-entropy, as in the paper."""

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Compute the cross-entropy of logits (..., M + 1) against labels (...) in 0..M -> (...)."""
        risk = F.cross_entropy(logits.float().flatten(0, -2), labels.flatten(), reduction="none")
        return risk.view(labels.shape)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Map logits (..., M + 1) to the probabilities of the classes (..., M)."""
        return logits.softmax(dim=-1)[..., 1:]

    def objectness(self, logits: Tensor) -> Tensor:
        """Map logits (..., M + 1) to the probability that a box is not background (...)."""
        return 1 - logits.softmax(dim=-1)[..., 0]


class Sigmoid:
    """Independent classes, with one binary cross-entropy per class, as detectron2 trains on LVIS.

    The logit of the background is not used.
    """

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Sum the binary cross-entropies of logits (..., M + 1) against labels (...) in 0..M -> (...)."""
        logits = logits[..., 1:].float()
        classes = torch.arange(1, logits.shape[-1] + 1, device=logits.device)
        return F.binary_cross_entropy_with_logits(logits, (labels[..., None] == classes).float(), reduction="none").sum(
            dim=-1
        )

    def probabilities(self, logits: Tensor) -> Tensor:
        """Map logits (..., M + 1) to the probabilities of the classes (..., M)."""
        return logits[..., 1:].sigmoid()

    def objectness(self, logits: Tensor) -> Tensor:
        """Map logits (..., M + 1) to the probability of the most likely class (...)."""
        return self.probabilities(logits).amax(dim=-1)


def classification(kind: Classification, logits: Tensor, labels: Tensor, mask: Tensor, normalizer: Tensor) -> Tensor:
    """Sum equation 4 over the masked boxes: logits (..., M + 1), labels (...) in 0..M -> scalar."""
    return torch.where(mask, kind(logits, labels), 0.0).sum() / normalizer


def objectness(logits: Tensor, positive: Tensor, mask: Tensor, normalizer: Tensor) -> Tensor:
    """Compute equation 4 for two classes, as in the RPN: logits (...), positive (...) bool -> scalar."""
    risk = F.binary_cross_entropy_with_logits(logits.float(), positive.float(), reduction="none")
    return torch.where(mask, risk, 0.0).sum() / normalizer
