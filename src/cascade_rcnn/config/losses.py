"""Configs of the box regression losses."""

from typing import Literal, TypeAlias

from cascade_rcnn.config.checks import MOST, Config, check


class SmoothL1Config(Config, frozen=True, kw_only=True, tag="smooth_l1"):
    """Equation 1: smooth L1 loss on encoded, normalised deltas; plain L1 if `beta` is 0."""

    beta: float = 0.0
    weight: float = 1.0

    def __post_init__(self) -> None:
        """Raise UserError for a number that is out of range."""
        check(self, beta=(0, MOST), weight=(0, MOST))


class IoULossConfig(Config, frozen=True, kw_only=True, tag="iou"):
    """A loss on the overlap of decoded boxes.

    `giou` (Rezatofighi et al. 2019), `diou` and `ciou` (Zheng et al. 2020): one minus a generalised IoU. `iou`: the
    negative log IoU (Yu et al. 2016). `bounded_iou`: bounds of the IoU per coordinate (Tychsen-Smith & Petersson 2018).
    """

    kind: Literal["iou", "bounded_iou", "giou", "diou", "ciou"] = "giou"
    weight: float = 1.0  # 10 in mmdetection's published configs

    def __post_init__(self) -> None:
        """Raise UserError for a number that is out of range."""
        check(self, weight=(0, MOST))


BoxLossConfig: TypeAlias = SmoothL1Config | IoULossConfig
