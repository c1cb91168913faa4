"""Config of the user's own backbone."""

from typing import ClassVar

from cascade_rcnn.config.backbones.base import AnyBackboneConfig
from cascade_rcnn.config.checks import MOST


class OwnBackboneConfig(AnyBackboneConfig, frozen=True, kw_only=True, tag="own"):
    """The user's own module, which must be passed again to rebuild the model."""

    limits: ClassVar = {"channels": (1, MOST), "strides": (1, 1024), "frozen_stages": (0, MOST)}

    folds: ClassVar[bool] = False

    channels: tuple[int, ...] = ()  # of its feature maps
    strides: tuple[int, ...] = ()

    @property
    def label(self) -> str:  # noqa: D102
        return "your backbone"
