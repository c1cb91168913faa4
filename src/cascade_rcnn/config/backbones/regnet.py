"""Config of RegNetX backbones."""

from typing import ClassVar, Self

from msgspec.structs import replace

from cascade_rcnn.config.backbones.base import MOST_DROPPED, AnyBackboneConfig, Depths
from cascade_rcnn.config.checks import check
from cascade_rcnn.config.layers import NormConfig
from cascade_rcnn.errors import UserError


class RegNetConfig(AnyBackboneConfig, frozen=True, kw_only=True, tag="regnet"):
    """A RegNetX (Radosavovic et al. 2020), by default the one with 3.2 GFLOPs."""

    layers: ClassVar[int] = 5  # the layers that can be frozen: the stem and four stages

    stem: int = 32
    widths: tuple[int, int, int, int] = (96, 192, 432, 1008)  # channels of each stage
    depths: Depths = (2, 6, 15, 2)  # blocks of each stage
    group_width: int = 48  # channels per group of the 3x3 convolutions
    norm: NormConfig = NormConfig()
    frozen_stages: int = 2  # 0: none, 1: the stem, 2: the stem and the first stage, ...
    drop_path: float = 0.0  # stochastic depth: rate of the last block, rising from 0
    checkpointing: bool = False  # recompute each block in the backward pass: less memory, slower

    def __post_init__(self) -> None:
        """Raise UserError for numbers that are out of range."""
        check(self, stem=(1, 8192), widths=(1, 65536), depths=(1, 1000), group_width=(1, 8192))
        check(self, drop_path=(0, MOST_DROPPED), frozen_stages=(0, self.layers))
        for width in self.widths:
            if width % min(width, self.group_width):
                raise UserError(f"widths: {width} is not a multiple of group_width={self.group_width}")

    def resized(self, width: int) -> Self:  # noqa: D102
        group = max(1, self.group_width * width // self.stem)
        widths = tuple(max(1, round(w * width / self.stem / group)) * group for w in self.widths)
        return replace(self, stem=width, widths=widths, group_width=group)
