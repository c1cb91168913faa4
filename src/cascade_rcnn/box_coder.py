"""Equation 2 with a stage's statistics: the one place where deltas are normalised and decoded into boxes."""

import torch
from torch import Tensor, nn

from cascade_rcnn import boxes as box_ops
from cascade_rcnn.config import Std


class BoxCoder(nn.Module):
    """Encode boxes and ground truth as normalised deltas, and decode them; the RPN's default is not to normalise."""

    mean: Tensor
    std: Tensor

    def __init__(
        self, mean: Std = (0.0, 0.0, 0.0, 0.0), std: Std = (1.0, 1.0, 1.0, 1.0), *, clamp_shrink: bool = False
    ) -> None:
        super().__init__()
        self.clamp_shrink = clamp_shrink
        self.register_buffer("mean", torch.tensor(mean), persistent=False)
        self.register_buffer("std", torch.tensor(std), persistent=False)

    def encode(self, boxes: Tensor, truth: Tensor) -> Tensor:
        """Return the normalised deltas from boxes to truth: (..., 4), (..., 4) -> (..., 4)."""
        return (box_ops.encode(boxes, truth) - self.mean) / self.std

    def decode(self, boxes: Tensor, deltas: Tensor) -> Tensor:
        """Apply normalised deltas to boxes, without clipping: (..., 4), (..., 4) -> (..., 4)."""
        return box_ops.decode(boxes, deltas.float() * self.std + self.mean, self.clamp_shrink)
