"""The integral loss: equation 6, Figure 3 (c). One head with a classifier for each u of U, side by side.

B images · K boxes · S samples · M classes · U qualities, ascending
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
    """A single stage whose logits are those of U classifiers.

    The sample is drawn, and the regressor trained, by the lowest u. `inference.stage` t reads classifiers 1..t (their
    average, or with `ensemble` off the t-th alone).
    """

    def __init__(self, head: nn.Module, stages: Sequence[StageConfig], *common: Any) -> None:
        """A stage for each classifier's u; `common` is what `Cascade` takes after its stages, up to `lay_out`."""
        super().__init__([head], stages[:1], *common)
        self.ious = tuple(stage.iou for stage in stages)
        if list(self.ious) != sorted(self.ious):
            raise UserError(f"stage_ious={self.ious}: the integral loss takes them in ascending order")

    def _split(self, logits: Tensor) -> tuple[Tensor, ...]:
        """(B, K, U * (M + 1)) -> U of (B, K, M + 1)."""
        return logits.chunk(len(self.ious), dim=-1)

    def _classification(self, trained: TrainedOn, number: Tensor) -> Tensor:
        """Equation 6: the risks of all classifiers, each by the labels of its own u (eq. 5), added up."""
        total = torch.zeros((), device=trained.iou.device)
        for logits, u in zip(self._split(trained.output.logits), self.ious, strict=True):
            labels = torch.where(trained.iou >= u, trained.labels, 0)
            total = total + losses.classification(logits, labels, trained.valid, number)
        return total

    def _likeliest(self, logits: Tensor) -> Tensor:
        """By the classifiers' average: (B, K, U * (M + 1)) -> (B, K) in 1..M."""
        return self._average(list(self._split(logits))).argmax(dim=-1) + 1

    @property
    def last(self) -> int:
        """There is one stage, whichever classifiers are read."""
        return 1

    def scores(self, features: Features, outputs: list[StageOutput], first: int = 1) -> Tensor:
        """Class probabilities (B, K, M): the average of the classifiers', or one's."""
        read = self._split(outputs[-1].logits)[: self.inference.stage]
        return self._average(list(read) if self.inference.ensemble else [read[-1]])
