"""Settings common to all backbones."""

from typing import ClassVar, Literal, Self, TypeAlias

from msgspec.structs import replace

from cascade_rcnn.config.checks import Config
from cascade_rcnn.config.layers import NormConfig
from cascade_rcnn.errors import UserError

MOST_DROPPED = 0.99  # of stochastic depth
Depths: TypeAlias = tuple[int, int, int, int]  # blocks of each stage


class AnyBackboneConfig(Config, frozen=True, kw_only=True):
    """Settings common to all backbones."""

    folds: ClassVar[bool] = True  # convolutions and norms have the names that models/folding.py looks for

    frozen_stages: int = 0  # number of layers, counted from the pixels, that keep their pretrained weights

    @property
    def label(self) -> str:
        """The name of the backbone in model names."""
        return str(self.__struct_config__.tag)

    def resized(self, width: int) -> Self:
        """Return a copy whose first layers have `width` channels. Raises UserError if there is no such network."""
        raise UserError(f"backbone_width={width}: {self.label} has a fixed width; leave out the option")

    def untrained(self) -> Self:
        """Return a copy for training from random weights: nothing frozen, batch norm trained."""
        unfrozen = replace(self, frozen_stages=0)
        return unfrozen.normalised("batch") if "norm" in self.__struct_fields__ else unfrozen

    def normalised(self, kind: Literal["frozen", "affine", "batch", "group"]) -> Self:
        """Return a copy with another kind of normalisation."""
        return replace(self, norm=NormConfig(kind=kind))


def heads_for(width: int, heads: int, before: int) -> int:
    """Return the number of heads for `width` channels, each about as wide as `heads` of `before` channels."""
    most = max(1, width * heads // before)
    return next(number for number in range(most, 0, -1) if width % number == 0)
