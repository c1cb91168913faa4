"""Configs of backbones, one type a network."""

from typing import Literal, TypeAlias

from cascade_rcnn.config.checks import Config, check
from cascade_rcnn.config.layers import NormConfig


class ResNetConfig(Config, frozen=True, kw_only=True, tag="resnet"):
    """A residual network (He et al. 2016), or ResNeXt with more than one group."""

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
        check(self, frozen_stages=(0, 5))


class VGGConfig(Config, frozen=True, kw_only=True, tag="vgg"):
    """VGG-16 up to conv5_3 (Simonyan & Zisserman 2015)."""

    planes: int = 64  # channels of conv1, doubling from there
    frozen_stages: int = 2  # 0 none, 1 conv1, 2 conv1 and conv2, ...

    def __post_init__(self) -> None:
        """Raises UserError for a width that no network has."""
        check(self, planes=(1, 8192), frozen_stages=(0, 5))


BackboneConfig: TypeAlias = ResNetConfig | VGGConfig
