"""The integral loss: equation 6, Figure 3 (c). One head with a classifier for each u in U.

B images · K boxes · S samples · M classes · U quality levels, ascending
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cascade_rcnn import losses
from cascade_rcnn.config import StageConfig
from cascade_rcnn.errors import UserError
from cascade_rcnn.heads.cascade import Cascade, Features
from cascade_rcnn.structures import StageOutput, TrainedOn


class IntegralLoss(Cascade):
    """A single stage whose logits are the concatenation of U classifiers.

    Sampling and the regressor use the lowest u. `inference.stage` t averages classifiers 1..t or, with `ensemble` off,
    uses only the t-th.
    """

    def __init__(self, head: nn.Module, stages: Sequence[StageConfig], *common: Any) -> None:
        """`stages` has one entry per classifier; `common` are `Cascade`'s arguments from `box_loss` to `lay_out`."""
        super().__init__([head], stages[:1], *common)
        self.ious = tuple(stage.iou for stage in stages)
        if list(self.ious) != sorted(self.ious):
            raise UserError(f"stage_ious={self.ious}: the integral loss takes them in ascending order")

    def _split(self, logits: Tensor) -> tuple[Tensor, ...]:
        """(B, K, U * (M + 1)) -> U of (B, K, M + 1)."""
        return logits.chunk(len(self.ious), dim=-1)

    def _classification(self, trained: TrainedOn, number: Tensor) -> Tensor:
        """Sum the risks of all classifiers, each with the labels at its own u (equations 5 and 6)."""
        total = torch.zeros((), device=trained.iou.device)
        for logits, u in zip(self._split(trained.output.logits), self.ious, strict=True):
            labels = torch.where(trained.iou >= u, trained.labels, 0)
            total = total + losses.classification(logits, labels, trained.valid, number)
        return total

    def _likeliest(self, logits: Tensor) -> Tensor:
        """Return the most likely class by the averaged classifiers: (B, K, U * (M + 1)) -> (B, K) in 1..M."""
        return self._average(list(self._split(logits))).argmax(dim=-1) + 1

    @property
    def last(self) -> int:
        """Always 1: there is a single stage, whichever classifiers it uses."""
        return 1

    def scores(self, features: Features, outputs: list[StageOutput], first: int = 1) -> Tensor:
        """Return class probabilities (B, K, M), averaged over the classifiers or from a single one."""
        read = self._split(outputs[-1].logits)[: self.inference.stage]
        return self._average(list(read) if self.inference.ensemble else [read[-1]])
