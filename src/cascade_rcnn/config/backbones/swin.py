"""Config of Swin transformer backbones."""

from typing import ClassVar, Self

from msgspec.structs import replace

from cascade_rcnn.config.backbones.base import MOST_DROPPED, AnyBackboneConfig, Depths
from cascade_rcnn.config.checks import check
from cascade_rcnn.errors import UserError

SWINS: dict[str, tuple[int, Depths]] = {  # published sizes: channels of the first stage, blocks per stage
    "swin_t": (96, (2, 2, 6, 2)),
    "swin_s": (96, (2, 2, 18, 2)),
    "swin_b": (128, (2, 2, 18, 2)),
    "swin_l": (192, (2, 2, 18, 2)),
}


class SwinConfig(AnyBackboneConfig, frozen=True, kw_only=True, tag="swin"):
    """A Swin transformer (Liu et al. 2021); channels and heads double from stage to stage."""

    layers: ClassVar[int] = 5  # the layers that can be frozen: the patch embedding and four stages

    width: int = 96  # channels of the first stage
    depths: Depths = (2, 2, 6, 2)
    heads: int = 3  # of the first stage
    window: int = 7  # side of an attention window, in tokens
    drop_path: float = 0.0  # stochastic depth: rate of the last block, rising from 0
    checkpointing: bool = False  # recompute each block in the backward pass: less memory, slower

    def __post_init__(self) -> None:
        """Raise UserError for numbers that are out of range."""
        check(self, width=(1, 8192), depths=(1, 1000), heads=(1, 8192), window=(2, 100))
        check(self, drop_path=(0, MOST_DROPPED), frozen_stages=(0, self.layers))
        if self.width % self.heads:
            raise UserError(f"width={self.width} is not a multiple of heads={self.heads}; give one that is")

    @property
    def label(self) -> str:  # noqa: D102
        return next((name for name, size in SWINS.items() if size == (self.width, self.depths)), "swin")

    def resized(self, width: int) -> Self:
        """Return a copy of this width, with 32 channels per head, as published, if that divides it."""
        return replace(self, width=width, heads=1 if width % 32 else width // 32)
