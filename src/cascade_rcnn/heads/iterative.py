"""Iterative bounding box regression: equation 3, Figure 3 (b). One head, applied repeatedly to its own output."""

from typing import Any

from torch import nn

from cascade_rcnn.config import StageConfig
from cascade_rcnn.heads.cascade import Cascade


def iterative_bbox(head: nn.Module, stage: StageConfig, iterations: int, *common: Any) -> Cascade:
    """Build a cascade whose stages share one head, trained only on the RPN's proposals, like the baseline.

    Every iteration can be evaluated like a stage (`test_stage`). Boxes are classified at their final position; a single
    classifier has nothing to ensemble. `common` are `Cascade`'s arguments from `box_loss` to `lay_out`.
    """
    return Cascade([head] * iterations, [stage] * iterations, *common, trained=1)
