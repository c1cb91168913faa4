"""Iterative bounding box regression: equation 3, Figure 3 (b). One head, applied to its own output again and again."""

from torch import nn

from cascade_rcnn.config import Inference, Sampling, Semantics, Stage
from cascade_rcnn.heads.cascade import Cascade, Read


def iterative_bbox(
    head: nn.Module,
    stage: Stage,
    iterations: int,
    semantics: Semantics,
    sampling: Sampling,
    inference: Inference,
    read: Read = list,
) -> Cascade:
    """A cascade whose stages are all the same head; it is trained once, on the RPN's proposals, as the baseline is.

    Every iteration can be read as a stage can (`test_stage`). Boxes are classified where the last one finds them: with
    one classifier there is no ensemble.
    """
    return Cascade([head] * iterations, [stage] * iterations, semantics, sampling, inference, read, trained=1)
