"""Config of ConvNeXt backbones."""

from typing import Self

from msgspec.structs import replace

from cascade_rcnn.config.backbones.base import MOST_DROPPED, AnyBackboneConfig, Depths
from cascade_rcnn.config.checks import check

CONVNEXTS: dict[str, tuple[int, Depths]] = {  # published sizes: channels of the first stage, blocks per stage
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
    checkpointing: bool = False  # recompute each block in the backward pass: less memory, slower

    def __post_init__(self) -> None:
        """Raise UserError for numbers that are out of range."""
        check(self, width=(1, 8192), depths=(1, 1000))
        check(self, drop_path=(0, MOST_DROPPED), frozen_stages=(0, self.layers))

    @property
    def layers(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The number of layers that can be frozen: the stem, the stages, and in the third every three blocks."""
        return 4 + -(-self.depths[2] // 3)

    @property
    def label(self) -> str:  # noqa: D102
        return next((name for name, size in CONVNEXTS.items() if size == (self.width, self.depths)), "convnext")

    def resized(self, width: int) -> Self:  # noqa: D102
        return replace(self, width=width)
