"""Configs of backbones, one type per network."""

from typing import ClassVar, Literal, Self, TypeAlias

from msgspec.structs import replace

from cascade_rcnn.config.checks import Config, check
from cascade_rcnn.config.layers import NormConfig
from cascade_rcnn.errors import UserError

MOST_DROPPED = 0.99  # of stochastic depth


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


Depths: TypeAlias = tuple[int, int, int, int]  # blocks of each stage
SWINS: dict[str, tuple[int, Depths]] = {  # the published ones: channels of the first stage, depths
    "swin_t": (96, (2, 2, 6, 2)),
    "swin_s": (96, (2, 2, 18, 2)),
    "swin_b": (128, (2, 2, 18, 2)),
    "swin_l": (192, (2, 2, 18, 2)),
}


class SwinConfig(AnyBackboneConfig, frozen=True, kw_only=True, tag="swin"):
    """A Swin transformer (Liu et al. 2021); channels and heads double from stage to stage."""

    layers: ClassVar[int] = 5  # that can be frozen: the patch embedding, stage 1, ...

    width: int = 96  # channels of the first stage
    depths: Depths = (2, 2, 6, 2)
    heads: int = 3  # of the first stage
    window: int = 7  # tokens a side
    drop_path: float = 0.0  # stochastic depth: rate of the last block, rising from 0
    checkpointing: bool = False  # compute each block again in the backward pass

    def __post_init__(self) -> None:
        """Raises UserError for a width that no network has."""
        check(self, width=(1, 8192), depths=(1, 1000), heads=(1, 8192), window=(2, 100))
        check(self, drop_path=(0, MOST_DROPPED), frozen_stages=(0, self.layers))
        if self.width % self.heads:
            raise UserError(f"width={self.width} is no multiple of heads={self.heads}; give one that is")

    @property
    def label(self) -> str:  # noqa: D102
        return next((name for name, size in SWINS.items() if size == (self.width, self.depths)), "swin")

    def resized(self, width: int) -> Self:
        """Return a copy of this width; a head has 32 channels, as in all published ones, where that comes out even."""
        return replace(self, width=width, heads=1 if width % 32 else width // 32)


CONVNEXTS: dict[str, tuple[int, Depths]] = {  # as above
    "convnext_tiny": (96, (3, 3, 9, 3)),
    "convnext_small": (96, (3, 3, 27, 3)),
    "convnext_base": (128, (3, 3, 27, 3)),
    "convnext_large": (192, (3, 3, 27, 3)),
    "convnext_xlarge": (256, (3, 3, 27, 3)),
}


class ConvNeXtConfig(AnyBackboneConfig, frozen=True, kw_only=True, tag="convnext"):
    """A ConvNeXt (Liu et al. 2022); channels double from stage to stage."""

    width: int = 96  # channels of the first stage
    depths: Depths = (3, 3, 9, 3)
    drop_path: float = 0.0  # stochastic depth: rate of the last block, rising from 0
    checkpointing: bool = False  # compute each block again in the backward pass

    def __post_init__(self) -> None:
        """Raises UserError for a width that no network has."""
        check(self, width=(1, 8192), depths=(1, 1000))
        check(self, drop_path=(0, MOST_DROPPED), frozen_stages=(0, self.layers))

    @property
    def layers(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """How many can be frozen: the stem, each stage, and of the third every three blocks."""
        return 4 + -(-self.depths[2] // 3)

    @property
    def label(self) -> str:  # noqa: D102
        return next((name for name, size in CONVNEXTS.items() if size == (self.width, self.depths)), "convnext")

    def resized(self, width: int) -> Self:  # noqa: D102
        return replace(self, width=width)


BackboneConfig: TypeAlias = ResNetConfig | VGGConfig | SwinConfig | ConvNeXtConfig
