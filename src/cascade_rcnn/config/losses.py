"""Configs of the box regression losses."""

from typing import Literal, TypeAlias

from cascade_rcnn.config.checks import MOST, Config, check


class SmoothL1Config(Config, frozen=True, kw_only=True, tag="smooth_l1"):
    """Equation 1: smooth L1 loss on encoded, normalised deltas; `beta` 0 is L1."""

    beta: float = 0.0
    weight: float = 1.0

    def __post_init__(self) -> None:
        """Raise UserError for a number that is out of range."""
        check(self, beta=(0, MOST), weight=(0, MOST))


class IoULossConfig(Config, frozen=True, kw_only=True, tag="iou"):
    """One minus a generalised IoU of decoded boxes: GIoU (Rezatofighi et al. 2019), DIoU, CIoU (Zheng et al. 2020)."""

    kind: Literal["giou", "diou", "ciou"] = "giou"
    weight: float = 1.0  # 10 in mmdetection's published configs

    def __post_init__(self) -> None:
        """Raise UserError for a number that is out of range."""
        check(self, weight=(0, MOST))


BoxLossConfig: TypeAlias = SmoothL1Config | IoULossConfig
