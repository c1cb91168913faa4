"""Configs of the feature pyramids between backbone and heads."""

from typing import ClassVar, TypeAlias

from cascade_rcnn.config.checks import Config
from cascade_rcnn.config.layers import NormConfig


class FPNConfig(Config, frozen=True, kw_only=True, tag="fpn"):
    """A feature pyramid (Lin et al. 2017)."""

    limits: ClassVar = {"channels": (1, 65536)}

    channels: int = 256
    norm: NormConfig | None = None  # after each convolution, which then has no bias


class SimplePyramidConfig(Config, frozen=True, kw_only=True, tag="simple"):
    """ViTDet's simple feature pyramid (Li et al. 2022), which computes all levels from one map of stride 16."""

    limits: ClassVar = {"channels": (1, 65536)}

    channels: int = 256
    norm: NormConfig | None = NormConfig.of("layer")  # after each convolution, which then has no bias


class SingleScaleConfig(Config, frozen=True, kw_only=True, tag="single_scale"):
    """No pyramid: the backbone's maps of stride 16."""


PyramidConfig: TypeAlias = FPNConfig | SimplePyramidConfig | SingleScaleConfig
