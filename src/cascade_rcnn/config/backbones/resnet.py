"""Configs of ResNet and ResNeXt backbones, optionally with deformable convolutions and global context blocks."""

from typing import ClassVar, Literal, Self

from msgspec.structs import replace

from cascade_rcnn.config.backbones.base import MOST_DROPPED, AnyBackboneConfig
from cascade_rcnn.config.checks import Config, check
from cascade_rcnn.config.layers import NormConfig
from cascade_rcnn.errors import UserError


class DeformableConfig(Config, frozen=True, kw_only=True):
    """Deformable 3x3 convolutions in the bottlenecks (Dai et al. 2017); `modulated` is DCNv2 (Zhu et al. 2019)."""

    limits: ClassVar = {"groups": (1, 8192)}

    modulated: bool = False
    groups: int = 1  # groups of channels, each with its own offsets
    layers: tuple[Literal[1, 2, 3, 4], ...] = (2, 3, 4)  # of layer1 to layer4


class ContextConfig(Config, frozen=True, kw_only=True):
    """Global context blocks at the end of bottlenecks (GCNet, Cao et al. 2019); `ratio` is inner / outer width."""

    limits: ClassVar = {"ratio": (0, 1)}

    ratio: float = 0.25
    layers: tuple[Literal[1, 2, 3, 4], ...] = (2, 3, 4)  # of layer1 to layer4


class ResNetConfig(AnyBackboneConfig, frozen=True, kw_only=True, tag="resnet"):
    """A residual network (He et al. 2016), or ResNeXt with more than one group."""

    layers: ClassVar[int] = 5  # the layers that can be frozen: the stem and layer1 to layer4

    depth: Literal[18, 34, 50, 101, 152] = 50
    stem: int = 64  # channels; published networks have 64, here and in `planes`
    planes: int = 64
    dilated: bool = False  # keep layer4 at stride 16 and dilate its 3x3 convolutions by 2 (R-FCN)
    groups: int = 1
    width_per_group: int = 64
    stride_in_1x1: bool = False  # Caffe style (detectron2's MSRA weights)
    deformable: DeformableConfig | None = None  # None: ordinary convolutions
    context: ContextConfig | None = None
    norm: NormConfig = NormConfig()
    frozen_stages: int = 2  # 0: none, 1: the stem, 2: the stem and layer1, ...
    drop_path: float = 0.0  # stochastic depth: rate of the last block, rising from 0
    checkpointing: bool = False  # recompute each block in the backward pass: less memory, slower

    def __post_init__(self) -> None:
        """Raise UserError for numbers that are out of range."""
        check(self, stem=(1, 8192), planes=(1, 8192), groups=(1, 8192), width_per_group=(1, 8192))
        check(self, drop_path=(0, MOST_DROPPED), frozen_stages=(0, self.layers))
        for name in ("deformable", "context"):
            if getattr(self, name) is not None and self.depth < 50:
                raise UserError(f"{name}: resnet{self.depth} has no bottlenecks; give a depth of 50, 101 or 152")

    @property
    def label(self) -> str:  # noqa: D102
        name = f"resnext{self.depth}" if self.groups > 1 else f"resnet{self.depth}"
        if self.deformable is not None:
            name += "_dcnv2" if self.deformable.modulated else "_dcn"
        return name if self.context is None else f"{name}_gc"

    def resized(self, width: int) -> Self:  # noqa: D102
        return replace(self, stem=width, planes=width)
