"""Config of Res2Net backbones."""

from typing import ClassVar, Literal, Self

from msgspec.structs import replace

from cascade_rcnn.config.backbones.base import MOST_DROPPED, AnyBackboneConfig
from cascade_rcnn.config.checks import check
from cascade_rcnn.config.layers import NormConfig


class Res2NetConfig(AnyBackboneConfig, frozen=True, kw_only=True, tag="res2net"):
    """A Res2Net (Gao et al. 2019) with a stem of three 3x3 convolutions and pooling shortcuts ("v1d")."""

    layers: ClassVar[int] = 5  # that can be frozen: the stem, layer1, ...

    depth: Literal[50, 101, 152] = 101
    stem: int = 64  # channels; published networks have 64 of these and the next
    planes: int = 64
    scales: int = 4  # parts of a bottleneck's channels, of which each sees more of the map than the one before
    base_width: int = 26  # channels of a part, for 64 planes
    norm: NormConfig = NormConfig()
    frozen_stages: int = 2  # 0 none, 1 the stem, 2 stem and layer1, ...
    drop_path: float = 0.0  # stochastic depth: rate of the last block, rising from 0
    checkpointing: bool = False  # compute each block again in the backward pass: less memory, slower

    def __post_init__(self) -> None:
        """Raise UserError for a width that no network has."""
        check(self, stem=(2, 8192), planes=(1, 8192), scales=(2, 64), base_width=(1, 8192))
        check(self, drop_path=(0, MOST_DROPPED), frozen_stages=(0, self.layers))

    @property
    def label(self) -> str:  # noqa: D102
        return f"res2net{self.depth}"

    def resized(self, width: int) -> Self:  # noqa: D102
        return replace(self, stem=width, planes=width)
