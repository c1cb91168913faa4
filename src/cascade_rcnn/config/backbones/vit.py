"""Config of plain vision transformer backbones."""

from typing import Self

from msgspec.structs import replace

from cascade_rcnn.config.backbones.base import MOST_DROPPED, AnyBackboneConfig, heads_for
from cascade_rcnn.config.checks import check
from cascade_rcnn.errors import UserError


class ViTConfig(AnyBackboneConfig, frozen=True, kw_only=True, tag="vit"):
    """A plain vision transformer with windowed attention in all but a few blocks (ViTDet, Li et al. 2022)."""

    width: int = 768  # channels
    depth: int = 12  # blocks
    heads: int = 12
    window: int = 14  # side of an attention window, in patches
    global_blocks: tuple[int, ...] = (2, 5, 8, 11)  # blocks with global attention
    grid: int = 64  # side of training images in patches: the size of the relative position embeddings
    pretrained_grid: int = 14  # side of pretraining images in patches: the size of the absolute position embedding
    drop_path: float = 0.1  # stochastic depth: rate of the last block, rising from 0
    checkpointing: bool = False  # recompute the blocks in the backward pass: less memory, slower

    def __post_init__(self) -> None:
        """Raise UserError for numbers that are out of range."""
        check(self, width=(1, 8192), depth=(1, 512), heads=(1, 8192), window=(1, 1024))
        check(
            self, grid=(1, 1024), pretrained_grid=(1, 1024), drop_path=(0, MOST_DROPPED), frozen_stages=(0, self.layers)
        )
        check(self, global_blocks=(0, self.depth - 1))
        if self.width % self.heads:
            raise UserError(f"heads={self.heads}: give a number that divides the width of {self.width}")

    @property
    def layers(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The number of layers that can be frozen: the patch embedding and each block."""
        return self.depth + 1

    @property
    def label(self) -> str:  # noqa: D102
        sizes = {(768, 12): "b", (1024, 24): "l", (1280, 32): "h"}
        return f"vit_{sizes.get((self.width, self.depth), f'{self.width}x{self.depth}')}"

    def resized(self, width: int) -> Self:  # noqa: D102
        return replace(self, width=width, heads=heads_for(width, self.heads, self.width))
