"""Configs of RoI tasks: predictions per region beyond class and box."""

from typing import Literal, TypeAlias

from cascade_rcnn.config.checks import MOST, Config, check
from cascade_rcnn.config.heads import RoIAlignConfig
from cascade_rcnn.config.layers import NormConfig
from cascade_rcnn.errors import UserError


class MaskConfig(Config, frozen=True, kw_only=True, tag="mask"):
    """Mask R-CNN's heads (He et al. 2017): convolutions, a transposed one that doubles the resolution, and the maps.

    Each entry of `stages` has its own head, trained on that stage's positives. The masks of detections are the average
    of all heads on the final boxes.

    >>> MaskConfig(stages=(1, 2, 3), weights=(1.0, 0.5, 0.25)).resolution
    28
    """

    stages: tuple[int, ...] = (1,)
    weights: tuple[float, ...] = (1.0,)  # of each head's loss
    convs: int = 4
    channels: int = 256
    norm: NormConfig | None = None  # after each convolution, which then has no bias
    class_agnostic: bool = False  # one map for all classes
    roi_align: RoIAlignConfig = RoIAlignConfig(resolution=14, sampling=0)
    # target pixels: thresholded at 0.5, as in detectron2 and mmdetection, or, as in torchvision, the fraction inside,
    # pooled without the half-pixel offset
    targets: Literal["binary", "soft"] = "binary"
    # the box to paste a map into: as predicted or, as in torchvision, padded by a cell and rounded to whole pixels
    paste: Literal["exact", "whole-pixels"] = "exact"

    def __post_init__(self) -> None:
        """Raise UserError for a number that is out of range, or if there is not one weight per head."""
        check(self, stages=(1, 100), weights=(0, MOST), convs=(0, 32), channels=(1, 65536))
        if not self.stages or len(self.stages) != len(self.weights):
            raise UserError(
                f"masks: {len(self.stages)} stages and {len(self.weights)} weights; give one of each per head"
            )

    @property
    def resolution(self) -> int:
        """S, the height and width of a map."""
        return 2 * self.roi_align.resolution


RoITaskConfig: TypeAlias = MaskConfig  # a union, once there are others
