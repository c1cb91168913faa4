"""Config of MViTv2 backbones."""

from typing import Self

from msgspec.structs import replace

from cascade_rcnn.config.backbones.base import MOST_DROPPED, AnyBackboneConfig, Depths, heads_for
from cascade_rcnn.config.checks import check
from cascade_rcnn.errors import UserError

MVITS: dict[str, tuple[int, int, Depths]] = {  # published sizes: channels, heads, blocks per stage
    "mvitv2_t": (96, 1, (1, 2, 5, 2)),
    "mvitv2_s": (96, 1, (1, 2, 11, 2)),
    "mvitv2_b": (96, 1, (2, 3, 16, 3)),
    "mvitv2_l": (144, 2, (2, 6, 36, 4)),
    "mvitv2_h": (192, 3, (4, 8, 60, 8)),
}


class MViTConfig(AnyBackboneConfig, frozen=True, kw_only=True, tag="mvit"):
    """A multiscale vision transformer (MViTv2, Li et al. 2022); channels and heads double from stage to stage."""

    width: int = 96  # channels of the first stage
    depths: Depths = (2, 3, 16, 3)  # blocks of each stage
    heads: int = 1  # of the first stage
    window: int = 56  # side of an attention window of the first stage, in tokens; halves from stage to stage
    kv_stride: int = 4  # stride of pooled keys and values in the first stage; halves likewise, down to 1
    grid: int = 56  # side of the pretraining images in tokens, which fixes the relative positions
    drop_path: float = 0.0  # stochastic depth: rate of the last block, rising from 0
    checkpointing: bool = False  # recompute each block in the backward pass: less memory, slower

    def __post_init__(self) -> None:
        """Raise UserError for numbers that are out of range."""
        check(self, width=(1, 8192), depths=(1, 512), heads=(1, 8192), kv_stride=(1, 64))
        check(self, window=(8, 1024), grid=(8, 1024))
        check(self, drop_path=(0, MOST_DROPPED), frozen_stages=(0, self.layers))
        if self.width % self.heads:
            raise UserError(f"heads={self.heads}: give a number that divides the width of {self.width}")
        if self.kv_stride & (self.kv_stride - 1):
            raise UserError(f"kv_stride={self.kv_stride}: give a power of 2")
        if self.window % max(8, self.kv_stride):
            raise UserError(f"window={self.window}: give a multiple of {max(8, self.kv_stride)}, as it is halved")

    @property
    def layers(self) -> int:
        """The number of layers that can be frozen: the patch embedding and each block."""
        return sum(self.depths) + 1

    @property
    def label(self) -> str:  # noqa: D102
        size = (self.width, self.heads, self.depths)
        return next((name for name, known in MVITS.items() if known == size), "mvitv2")

    def resized(self, width: int) -> Self:  # noqa: D102
        return replace(self, width=width, heads=heads_for(width, self.heads, self.width))
