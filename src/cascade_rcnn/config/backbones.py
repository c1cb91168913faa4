"""Configs of backbones, one type per network."""

from typing import ClassVar, Literal, Self, TypeAlias

from msgspec.structs import replace

from cascade_rcnn.config.checks import MOST, Config, check
from cascade_rcnn.config.layers import NormConfig
from cascade_rcnn.errors import UserError


class AnyBackboneConfig(Config, frozen=True, kw_only=True):
    """What the config of every backbone has."""

    folds: ClassVar[bool] = True  # its convolutions and their normalisation are named as models/folding.py reads them

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


class TimmConfig(AnyBackboneConfig, frozen=True, kw_only=True, tag="timm"):
    """A network of timm, by its name there."""

    folds: ClassVar[bool] = False

    model: str = "resnet50"  # after a dot the tag of its weights may stand: convnext_tiny.in12k_ft_in1k
    # its batch normalisation: all is constant, the statistics are, or nothing is; other kinds are trained as they are
    norm: Literal["frozen", "affine", "batch"] = "frozen"
    drop_path: float = 0.0  # stochastic depth: rate of the last block, rising from 0
    checkpointing: bool = False  # compute the blocks again in the backward pass: less memory, slower

    def __post_init__(self) -> None:
        """Raises UserError for a rate that is none."""
        check(self, drop_path=(0, 1), frozen_stages=(0, MOST))

    @property
    def label(self) -> str:  # noqa: D102
        return f"timm/{self.model}"

    def untrained(self) -> Self:
        """Return a copy to be trained from random weights: nothing is frozen, statistics are the batch's."""
        return replace(self, frozen_stages=0, norm="batch")


class OwnBackboneConfig(AnyBackboneConfig, frozen=True, kw_only=True, tag="own"):
    """A module of the user's own, of which no more is known; models that have it are built with it at hand."""

    folds: ClassVar[bool] = False

    channels: tuple[int, ...] = ()  # of its maps
    strides: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Raises UserError for a number that is out of range."""
        check(self, channels=(1, MOST), strides=(1, 1024), frozen_stages=(0, MOST))

    @property
    def label(self) -> str:  # noqa: D102
        return "backbone of your own"


BackboneConfig: TypeAlias = ResNetConfig | VGGConfig | TimmConfig | OwnBackboneConfig
