"""Configs of the heads: how features are pooled, what reads them, and the stages they are trained in."""

from typing import Literal, TypeAlias

from cascade_rcnn.config.checks import MOST, Config, check
from cascade_rcnn.config.layers import NormConfig
from cascade_rcnn.errors import UserError

Std: TypeAlias = tuple[float, float, float, float]


class RoIAlignConfig(Config, frozen=True, kw_only=True):
    """Region features: `resolution` x `resolution` bins, `sampling` x `sampling` points each (0: adaptive)."""

    resolution: int = 7
    sampling: int = 2
    aligned: bool = True  # half-pixel correct; torchvision's detectors use False

    def __post_init__(self) -> None:
        """Raises UserError for a number that is out of range."""
        check(self, resolution=(1, 64), sampling=(0, 64))


class ConvFCHeadConfig(Config, frozen=True, kw_only=True, tag="conv_fc"):
    """3x3 convolutions, then fully connected layers: two of the latter alone in FPN and Faster R-CNN, or 4 and 1."""

    convs: int = 0
    conv_channels: int = 256
    norm: NormConfig | None = None  # after each convolution, which then has no bias
    fcs: int = 2
    width: int = 1024  # of the fully connected layers
    class_agnostic: bool = True

    def __post_init__(self) -> None:
        """Raises UserError for a number that is out of range."""
        check(self, convs=(0, 32), conv_channels=(1, 65536), fcs=(0, 32), width=(1, 65536))


class RFCNHeadConfig(Config, frozen=True, kw_only=True, tag="rfcn"):
    """R-FCN's 1x1 convolution of `width` channels and position-sensitive score maps (Dai et al. 2016)."""

    width: int = 1024
    class_agnostic: bool = True

    def __post_init__(self) -> None:
        """Raises UserError for a number that is out of range."""
        check(self, width=(1, 65536))


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
    lr_multiplier: float = 1.0  # of its head, to make up for the weight where the optimizer sees a loss's scale

    def __post_init__(self) -> None:
        """Raises UserError for what is no IoU, or no deviation."""
        if not 0 < self.iou < 1:
            raise UserError(f"stage_ious: {self.iou:g} is not between 0 and 1")
        if not all(0 < x < MOST for x in self.std):
            raise UserError(f"stage_stds: {self.std} has a deviation that is not above 0, or is no number")
        check(self, mean=(-MOST, MOST), loss_weight=(0, MOST), lr_multiplier=(0, MOST))


class SamplingConfig(Config, frozen=True, kw_only=True):
    """RoIs per image that a stage is trained on."""

    rois: int = 512
    positive_fraction: float = 0.25

    def __post_init__(self) -> None:
        """Raises UserError for a number that is out of range."""
        check(self, rois=(1, MOST), positive_fraction=(0, 1))


class SemanticsConfig(Config, frozen=True, kw_only=True):
    """Where the paper's text, its released code and the large reimplementations differ about the cascade.

    The defaults are detectron2's; what each preset chooses stands in presets.py.
    """

    name: str = "detectron2"
    resample: bool = False  # later stages draw a new sample (True) or keep all boxes of stage 1
    # to the inputs of which stages; removed after each?
    append_ground_truth: Literal["first", "every", "every-removed"] = "first"
    # a stage hands no positive on that had this IoU with its object before it was moved (appended ground truth, mainly)
    drop_near_ground_truth: float | None = None
    average_pooled_gradient: bool = True  # the gradient into the pooled features is divided by the number of stages
    min_object_size: float = 0.0  # what overlaps an object narrower or lower than this is neither object nor background
    bias_lr_multiplier: float = 1.0  # of all biases, with SGD
    clamp_shrink: bool = False  # dw and dh are clamped below too
    clip_between_stages: bool = True
    ensemble: Literal["probabilities", "logits"] = "probabilities"  # what is averaged over the stages
    ensemble_rois: Literal["last", "own"] = "own"  # all heads on the last stage's boxes, or each on its own

    def __post_init__(self) -> None:
        """Raises UserError for a number that is out of range."""
        check(self, drop_near_ground_truth=(0, 1), min_object_size=(0, MOST), bias_lr_multiplier=(0, MOST))
