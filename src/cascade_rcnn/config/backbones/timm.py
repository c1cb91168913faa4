"""Config of backbones from timm."""

from typing import ClassVar, Literal, Self

from msgspec.structs import replace

from cascade_rcnn.config.backbones.base import AnyBackboneConfig
from cascade_rcnn.config.checks import MOST
from cascade_rcnn.errors import UserError


class TimmConfig(AnyBackboneConfig, frozen=True, kw_only=True, tag="timm"):
    """A network from timm, by its name there, optionally with a tag for its weights."""

    limits: ClassVar = {"drop_path": (0, 1), "frozen_stages": (0, MOST)}

    folds: ClassVar[bool] = False

    model: str = "resnet50"  # or with a tag, such as convnext_tiny.in12k_ft_in1k
    # its batch norm: constant, with constant statistics, or trained; other kinds of normalisation are always trained
    norm: Literal["frozen", "affine", "batch"] = "frozen"
    drop_path: float = 0.0  # stochastic depth: rate of the last block, rising from 0
    checkpointing: bool = False  # recompute the blocks in the backward pass: less memory, slower

    @property
    def label(self) -> str:  # noqa: D102
        return f"timm/{self.model}"

    def normalised(self, kind: Literal["frozen", "affine", "batch", "group"]) -> Self:
        """Return a copy with another mode of batch norm. Raises UserError for group norm."""
        if kind == "group":
            raise UserError(f"backbone_norm=group: {self.label} has its own norms; give frozen, affine or batch")
        return replace(self, norm=kind)
