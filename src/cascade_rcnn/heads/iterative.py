"""Iterative bounding box regression: equation 3, Figure 3 (b). One head, applied to its own output again and again."""

from typing import Any

from torch import nn

from cascade_rcnn.config import StageConfig
from cascade_rcnn.heads.cascade import Cascade


def iterative_bbox(head: nn.Module, stage: StageConfig, iterations: int, *common: Any) -> Cascade:
    """A cascade whose stages are all the same head; it is trained once, on the RPN's proposals, as the baseline is.

    Every iteration can be read as a stage can (`test_stage`). Boxes are classified where the last one finds them: with
    one classifier there is no ensemble. `common` is what `Cascade` takes after its stages, up to `lay_out`.
    """
    return Cascade([head] * iterations, [stage] * iterations, *common, trained=1)
