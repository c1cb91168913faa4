"""Configs of RoI pooling, box heads and cascade stages."""

from typing import ClassVar, Literal, TypeAlias

from cascade_rcnn.config.checks import MOST, Config, check
from cascade_rcnn.config.layers import NormConfig
from cascade_rcnn.errors import UserError

Std: TypeAlias = tuple[float, float, float, float]


class RoIAlignConfig(Config, frozen=True, kw_only=True):
    """RoIAlign with `resolution` x `resolution` bins of `sampling` x `sampling` points each (0: adaptive)."""

    limits: ClassVar = {"resolution": (1, 64), "sampling": (0, 64)}

    resolution: int = 7
    sampling: int = 2
    aligned: bool = True  # apply the half-pixel offset; torchvision's detectors use False


class ConvFCHeadConfig(Config, frozen=True, kw_only=True, tag="conv_fc"):
    """3x3 convolutions, then fully connected layers: 2fc as in FPN and Faster R-CNN, or 4conv1fc."""

    limits: ClassVar = {"convs": (0, 32), "conv_channels": (1, 65536), "fcs": (0, 32), "width": (1, 65536)}

    convs: int = 0
    conv_channels: int = 256
    norm: NormConfig | None = None  # after each convolution, which then has no bias
    fcs: int = 2
    width: int = 1024  # of the fully connected layers
    class_agnostic: bool = True


class RFCNHeadConfig(Config, frozen=True, kw_only=True, tag="rfcn"):
    """R-FCN's head: a 1x1 convolution of `width` channels and position-sensitive score maps (Dai et al. 2016)."""

    limits: ClassVar = {"width": (1, 65536)}

    width: int = 1024
    class_agnostic: bool = True


BoxHeadConfig: TypeAlias = ConvFCHeadConfig | RFCNHeadConfig


class StageConfig(Config, frozen=True, kw_only=True):
    """One stage of the cascade: the quality u it is trained for (eq. 5) and how its targets are scaled (eq. 2).

    >>> [stage.iou for stage in load("starter").config.stages]
    [0.5, 0.6, 0.7]
    """

    iou: float = 0.5
    std: Std = (0.1, 0.1, 0.2, 0.2)
    mean: Std = (0.0, 0.0, 0.0, 0.0)
    loss_weight: float = 1.0
    lr_multiplier: float = 1.0  # for the stage's head, to offset the loss weight if the scale of the loss matters

    def __post_init__(self) -> None:
        """Raise UserError for an invalid IoU or standard deviation."""
        if not 0 < self.iou < 1:
            raise UserError(f"stage_ious: {self.iou:g} is not between 0 and 1")
        if not all(0 < x < MOST for x in self.std):
            raise UserError(f"stage_stds: {self.std} has a standard deviation that is not a positive number")
        check(self, mean=(-MOST, MOST), loss_weight=(0, MOST), lr_multiplier=(0, MOST))


class SamplingConfig(Config, frozen=True, kw_only=True):
    """The number of RoIs per image that a stage is trained on, and the fraction of positives."""

    limits: ClassVar = {"rois": (1, MOST), "positive_fraction": (0, 1)}

    rois: int = 512
    positive_fraction: float = 0.25


class SemanticsConfig(Config, frozen=True, kw_only=True):
    """Details of the cascade on which the paper, its released code and the large reimplementations differ.

    The defaults are detectron2's; see presets.py for the choices of each preset.
    """

    limits: ClassVar = {"drop_near_ground_truth": (0, 1), "min_object_size": (0, MOST), "bias_lr_multiplier": (0, MOST)}

    name: str = "detectron2"
    resample: bool = False  # later stages resample (True) or keep all boxes of stage 1
    # the stages whose inputs get ground truth appended, and whether it is removed again
    append_ground_truth: Literal["first", "every", "every-removed"] = "first"
    # positives whose input box had at least this IoU (mainly appended ground truth) are not passed to the next stage
    drop_near_ground_truth: float | None = None
    average_pooled_gradient: bool = True  # divide the gradient into the pooled features by the number of stages
    min_object_size: float = 0.0  # candidates that match an object with a side shorter than this are ignored
    bias_lr_multiplier: float = 1.0  # for all biases, with SGD
    clamp_shrink: bool = False  # clamp dw and dh from below, too
    clip_between_stages: bool = True
    ensemble: Literal["probabilities", "logits"] = "probabilities"  # what is averaged over the stages
    ensemble_rois: Literal["last", "own"] = "own"  # apply all heads to the last stage's boxes, or each to its own
