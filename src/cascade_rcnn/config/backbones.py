"""Configs of backbones, one type per network."""

from typing import ClassVar, Literal, Self, TypeAlias

from msgspec.structs import replace

from cascade_rcnn.config.any_backbone import MOST_DROPPED, AnyBackboneConfig
from cascade_rcnn.config.checks import MOST, Config, check
from cascade_rcnn.config.layers import NormConfig
from cascade_rcnn.config.mvit import MViTConfig
from cascade_rcnn.config.res2net import Res2NetConfig
from cascade_rcnn.errors import UserError


class DeformableConfig(Config, frozen=True, kw_only=True):
    """Deformable convolutions for the 3x3 ones in bottlenecks; `modulated`: the second version (DCNv2)."""

    modulated: bool = False
    groups: int = 1  # parts of the channels with offsets of their own
    layers: tuple[Literal[1, 2, 3, 4], ...] = (2, 3, 4)  # which of layer1 to layer4

    def __post_init__(self) -> None:
        """Raise UserError for a number that is out of range."""
        check(self, groups=(1, 8192))


class ContextConfig(Config, frozen=True, kw_only=True):
    """Global context blocks (GCNet) at the end of bottlenecks; `ratio`: inner channels / the bottleneck's channels."""

    ratio: float = 0.25
    layers: tuple[Literal[1, 2, 3, 4], ...] = (2, 3, 4)  # which of layer1 to layer4

    def __post_init__(self) -> None:
        """Raise UserError for a number that is out of range."""
        check(self, ratio=(0, 1))


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
    deformable: DeformableConfig | None = None  # None: no convolution is
    context: ContextConfig | None = None
    norm: NormConfig = NormConfig()
    frozen_stages: int = 2  # 0 none, 1 the stem, 2 stem and layer1, ...
    drop_path: float = 0.0  # stochastic depth: rate of the last block, rising from 0
    checkpointing: bool = False  # compute each block again in the backward pass: less memory, slower

    def __post_init__(self) -> None:
        """Raise UserError for a width that no network has."""
        check(self, stem=(1, 8192), planes=(1, 8192), groups=(1, 8192), width_per_group=(1, 8192))
        check(self, drop_path=(0, MOST_DROPPED), frozen_stages=(0, self.layers))
        for name in ("deformable", "context"):
            if getattr(self, name) is not None and self.depth < 50:
                raise UserError(f"{name}: resnet{self.depth} has no bottlenecks; take a depth of 50, 101 or 152")

    @property
    def label(self) -> str:  # noqa: D102
        name = f"resnext{self.depth}" if self.groups > 1 else f"resnet{self.depth}"
        if self.deformable is not None:
            name += "_dcnv2" if self.deformable.modulated else "_dcn"
        return name if self.context is None else f"{name}_gc"

    def resized(self, width: int) -> Self:  # noqa: D102
        return replace(self, stem=width, planes=width)

    def untrained(self) -> Self:
        """Return a copy to be trained from random weights: nothing is frozen, statistics are the batch's."""
        return replace(self, frozen_stages=0, norm=NormConfig(kind="batch"))


class RegNetConfig(AnyBackboneConfig, frozen=True, kw_only=True, tag="regnet"):
    """A RegNetX (Radosavovic et al. 2020), by default of 3.2 GFLOPs."""

    layers: ClassVar[int] = 5  # that can be frozen: the stem and four stages

    stem: int = 32
    widths: tuple[int, int, int, int] = (96, 192, 432, 1008)  # channels of each stage
    depths: tuple[int, int, int, int] = (2, 6, 15, 2)  # blocks
    group_width: int = 48  # channels of a group of its 3x3 convolutions
    norm: NormConfig = NormConfig()
    frozen_stages: int = 2  # 0 none, 1 the stem, 2 stem and the first stage, ...
    drop_path: float = 0.0  # stochastic depth: rate of the last block, rising from 0
    checkpointing: bool = False  # compute each block again in the backward pass: less memory, slower

    def __post_init__(self) -> None:
        """Raise UserError for a width that no network has."""
        check(self, stem=(1, 8192), widths=(1, 65536), depths=(1, 1000), group_width=(1, 8192))
        check(self, drop_path=(0, MOST_DROPPED), frozen_stages=(0, self.layers))
        for width in self.widths:
            if width % min(width, self.group_width):
                raise UserError(f"widths: {width} is no multiple of group_width={self.group_width}")

    def resized(self, width: int) -> Self:  # noqa: D102
        group = max(1, self.group_width * width // self.stem)
        widths = tuple(max(1, round(w * width / self.stem / group)) * group for w in self.widths)
        return replace(self, stem=width, widths=widths, group_width=group)

    def untrained(self) -> Self:
        """Return a copy to be trained from random weights: nothing is frozen, statistics are the batch's."""
        return replace(self, frozen_stages=0, norm=NormConfig(kind="batch"))


class VGGConfig(AnyBackboneConfig, frozen=True, kw_only=True, tag="vgg"):
    """VGG-16 up to conv5_3 (Simonyan & Zisserman 2015)."""

    layers: ClassVar[int] = 5  # conv1 to conv5

    planes: int = 64  # channels of conv1, doubling from there
    frozen_stages: int = 2  # 0 none, 1 conv1, 2 conv1 and conv2, ...

    def __post_init__(self) -> None:
        """Raise UserError for a width that no network has."""
        check(self, planes=(1, 8192), frozen_stages=(0, self.layers))

    @property
    def label(self) -> str:  # noqa: D102
        return "vgg16"

    def resized(self, width: int) -> Self:  # noqa: D102
        return replace(self, planes=width)


class ViTConfig(AnyBackboneConfig, frozen=True, kw_only=True, tag="vit"):
    """A plain vision transformer with attention within windows, except in a few blocks (ViTDet, Li et al. 2022)."""

    width: int = 768  # channels
    depth: int = 12  # blocks
    heads: int = 12
    window: int = 14  # patches a side that attend to one another
    global_blocks: tuple[int, ...] = (2, 5, 8, 11)  # where all patches do
    grid: int = 64  # patches a side of the images it is trained on, by which relative positions are known
    pretrained_grid: int = 14  # ... it was pretrained on, by which absolute positions are
    drop_path: float = 0.1  # stochastic depth: rate of the last block, rising from 0
    checkpointing: bool = False  # compute the blocks again in the backward pass: less memory, slower

    def __post_init__(self) -> None:
        """Raise UserError for numbers that no network has."""
        check(self, width=(1, 8192), depth=(1, 512), heads=(1, 8192), window=(1, 1024))
        check(
            self, grid=(1, 1024), pretrained_grid=(1, 1024), drop_path=(0, MOST_DROPPED), frozen_stages=(0, self.layers)
        )
        check(self, global_blocks=(0, self.depth - 1))
        if self.width % self.heads:
            raise UserError(f"heads={self.heads}: give a number that divides the width of {self.width}")

    @property
    def layers(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The patches' embedding, and each block."""
        return self.depth + 1

    @property
    def label(self) -> str:  # noqa: D102
        sizes = {(768, 12): "b", (1024, 24): "l", (1280, 32): "h"}
        return f"vit_{sizes.get((self.width, self.depth), f'{self.width}x{self.depth}')}"

    def resized(self, width: int) -> Self:
        """Return a copy of `width` channels, its heads about as wide as they were."""
        most = max(1, width * self.heads // self.width)
        return replace(self, width=width, heads=next(h for h in range(most, 0, -1) if width % h == 0))


class TimmConfig(AnyBackboneConfig, frozen=True, kw_only=True, tag="timm"):
    """A network of timm, by its name there."""

    folds: ClassVar[bool] = False

    model: str = "resnet50"  # after a dot the tag of its weights may stand: convnext_tiny.in12k_ft_in1k
    # its batch normalisation: all is constant, the statistics are, or nothing is; other kinds are trained as they are
    norm: Literal["frozen", "affine", "batch"] = "frozen"
    drop_path: float = 0.0  # stochastic depth: rate of the last block, rising from 0
    checkpointing: bool = False  # compute the blocks again in the backward pass: less memory, slower

    def __post_init__(self) -> None:
        """Raise UserError for a rate that is none."""
        check(self, drop_path=(0, 1), frozen_stages=(0, MOST))

    @property
    def label(self) -> str:  # noqa: D102
        return f"timm/{self.model}"

    def normalised(self, kind: Literal["frozen", "affine", "batch", "group"]) -> Self:
        """Return a copy whose batch normalisation is trained, or not. Raises UserError for another layer."""
        if kind == "group":
            raise UserError(f"backbone_norm=group: {self.label} has its own layers; give frozen, affine or batch")
        return replace(self, norm=kind)

    def untrained(self) -> Self:
        """Return a copy to be trained from random weights: nothing is frozen, statistics are the batch's."""
        return replace(self, frozen_stages=0, norm="batch")


class OwnBackboneConfig(AnyBackboneConfig, frozen=True, kw_only=True, tag="own"):
    """A module of the user's own, which must be given again to build the model."""

    folds: ClassVar[bool] = False

    channels: tuple[int, ...] = ()  # of its maps
    strides: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Raise UserError for a number that is out of range."""
        check(self, channels=(1, MOST), strides=(1, 1024), frozen_stages=(0, MOST))

    @property
    def label(self) -> str:  # noqa: D102
        return "backbone of your own"


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
        """Raise UserError for a width that no network has."""
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
        """Raise UserError for a width that no network has."""
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


BackboneConfig: TypeAlias = (
    RegNetConfig
    | Res2NetConfig
    | ResNetConfig
    | VGGConfig
    | ViTConfig
    | MViTConfig
    | SwinConfig
    | ConvNeXtConfig
    | TimmConfig
    | OwnBackboneConfig
)
