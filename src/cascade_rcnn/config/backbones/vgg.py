"""Config of the VGG-16 backbone."""

from typing import ClassVar, Self

from msgspec.structs import replace

from cascade_rcnn.config.backbones.base import AnyBackboneConfig
from cascade_rcnn.config.checks import check


class VGGConfig(AnyBackboneConfig, frozen=True, kw_only=True, tag="vgg"):
    """VGG-16 up to conv5_3 (Simonyan & Zisserman 2015)."""

    layers: ClassVar[int] = 5  # the layers that can be frozen: conv1 to conv5

    planes: int = 64  # channels of conv1, which double from there
    frozen_stages: int = 2  # 0: none, 1: conv1, 2: conv1 and conv2, ...

    def __post_init__(self) -> None:
        """Raise UserError for numbers that are out of range."""
        check(self, planes=(1, 8192), frozen_stages=(0, self.layers))

    @property
    def label(self) -> str:  # noqa: D102
        return "vgg16"

    def resized(self, width: int) -> Self:  # noqa: D102
        return replace(self, planes=width)
