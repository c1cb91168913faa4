"""What the configs of all backbones share."""

from typing import ClassVar, Literal, Self

from msgspec.structs import replace

from cascade_rcnn.config.checks import Config
from cascade_rcnn.config.layers import NormConfig
from cascade_rcnn.errors import UserError

MOST_DROPPED = 0.99  # of stochastic depth


class AnyBackboneConfig(Config, frozen=True, kw_only=True):
    """Settings common to all backbones."""

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

    def normalised(self, kind: Literal["frozen", "affine", "batch", "group"]) -> Self:
        """Return a copy with another normalisation, where the backbone has a choice."""
        return replace(self, norm=NormConfig(kind=kind))
