"""Configs of backbones, one type per network."""

from typing import ClassVar, Literal, Self, TypeAlias

from msgspec.structs import replace

from cascade_rcnn.config.checks import Config, check
from cascade_rcnn.config.layers import NormConfig
from cascade_rcnn.errors import UserError


class AnyBackboneConfig(Config, frozen=True, kw_only=True):
    """What the config of every backbone has."""

    layers: ClassVar[int] = 0  # that can be frozen: those of `Backbone.layers`

    frozen_stages: int = 0  # so many of the layers, from the pixels on, keep their pretrained weights

    @property
    def label(self) -> str:
        """What names of models call it."""
        return str(self.__struct_config__.tag)

    def resized(self, width: int) -> Self:
        """Return a copy whose first layers have `width` channels. Raises UserError where there is no such network."""
        raise UserError(f"backbone_width={width}: {self.label} has the width that its name says; leave the option out")

    def untrained(self) -> Self:
        """Return a copy to be trained from random weights: nothing is frozen."""
        return replace(self, frozen_stages=0)


class ResNetConfig(AnyBackboneConfig, frozen=True, kw_only=True, tag="resnet"):
    """A residual network (He et al. 2016), or ResNeXt with more than one group."""

    layers: ClassVar[int] = 5  # that can be frozen: the stem, layer1, ...

    depth: Literal[18, 34, 50, 101, 152] = 50
    stem: int = 64  # channels; published networks have 64 of these and the next
    planes: int = 64
    dilated: bool = False  # the last layer at stride 16, its 3x3 convolutions dilated by 2 (R-FCN)
    groups: int = 1
    width_per_group: int = 64
    stride_in_1x1: bool = False  # caffe style (detectron2's MSRA weights)
    norm: NormConfig = NormConfig()
    frozen_stages: int = 2  # 0 none, 1 the stem, 2 stem and layer1, ...

    def __post_init__(self) -> None:
        """Raises UserError for a width that no network has."""
        check(self, stem=(1, 8192), planes=(1, 8192), groups=(1, 8192), width_per_group=(1, 8192))
        check(self, frozen_stages=(0, self.layers))

    @property
    def label(self) -> str:  # noqa: D102
        return f"resnext{self.depth}" if self.groups > 1 else f"resnet{self.depth}"

    def resized(self, width: int) -> Self:  # noqa: D102
        return replace(self, stem=width, planes=width)

    def untrained(self) -> Self:
        """Return a copy to be trained from random weights: nothing is frozen, statistics are the batch's."""
        return replace(self, frozen_stages=0, norm=NormConfig(kind="batch"))


class VGGConfig(AnyBackboneConfig, frozen=True, kw_only=True, tag="vgg"):
    """VGG-16 up to conv5_3 (Simonyan & Zisserman 2015)."""

    layers: ClassVar[int] = 5  # conv1 to conv5

    planes: int = 64  # channels of conv1, doubling from there
    frozen_stages: int = 2  # 0 none, 1 conv1, 2 conv1 and conv2, ...

    def __post_init__(self) -> None:
        """Raises UserError for a width that no network has."""
        check(self, planes=(1, 8192), frozen_stages=(0, self.layers))

    @property
    def label(self) -> str:  # noqa: D102
        return "vgg16"

    def resized(self, width: int) -> Self:  # noqa: D102
        return replace(self, planes=width)


BackboneConfig: TypeAlias = ResNetConfig | VGGConfig
