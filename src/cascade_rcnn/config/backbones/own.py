"""Config of the user's own backbone."""

from typing import ClassVar

from cascade_rcnn.config.backbones.base import AnyBackboneConfig
from cascade_rcnn.config.checks import MOST, check


class OwnBackboneConfig(AnyBackboneConfig, frozen=True, kw_only=True, tag="own"):
    """The user's own module, which must be passed again to rebuild the model."""

    folds: ClassVar[bool] = False

    channels: tuple[int, ...] = ()  # of its feature maps
    strides: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Raise UserError for a number that is out of range."""
        check(self, channels=(1, MOST), strides=(1, 1024), frozen_stages=(0, MOST))

    @property
    def label(self) -> str:  # noqa: D102
        return "your backbone"
