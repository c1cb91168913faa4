"""Configs of the box regression losses."""

from typing import ClassVar, Literal, TypeAlias

from cascade_rcnn.config.checks import MOST, Config


class SmoothL1Config(Config, frozen=True, kw_only=True, tag="smooth_l1"):
    """Equation 1: smooth L1 loss on encoded, normalised deltas; plain L1 if `beta` is 0."""

    limits: ClassVar = {"beta": (0, MOST), "weight": (0, MOST)}

    beta: float = 0.0
    weight: float = 1.0


class IoULossConfig(Config, frozen=True, kw_only=True, tag="iou"):
    """A loss on the overlap of decoded boxes.

    `giou` (Rezatofighi et al. 2019), `diou` and `ciou` (Zheng et al. 2020): one minus a generalised IoU. `iou`: the
    negative log IoU (Yu et al. 2016). `bounded_iou`: bounds of the IoU per coordinate (Tychsen-Smith & Petersson 2018).
    """

    limits: ClassVar = {"weight": (0, MOST)}

    kind: Literal["iou", "bounded_iou", "giou", "diou", "ciou"] = "giou"
    weight: float = 1.0  # 10 in mmdetection's published configs


BoxLossConfig: TypeAlias = SmoothL1Config | IoULossConfig
