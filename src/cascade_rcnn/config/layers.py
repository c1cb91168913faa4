"""Configs of layers."""

from typing import Literal

from cascade_rcnn.config.checks import Config, check


class NormConfig(Config, frozen=True, kw_only=True):
    """A normalisation layer.

    `frozen`: batch statistics, scale and shift are all constants; `affine`: only the statistics are; `batch`: nothing
    is; `group`: group normalisation (Wu & He 2018); `layer`: layer normalisation over the channels of each place.
    """

    kind: Literal["frozen", "affine", "batch", "group", "layer"] = "frozen"
    groups: int = 32  # of `group`
    eps: float = 1e-5  # torchvision's own COCO weights: 0
    folded: bool = True  # compute constant statistics as part of the convolution; False rounds as the peers do

    @classmethod
    def of(cls, kind: Literal["batch", "group", "layer"]) -> "NormConfig":
        """A trained layer of this kind, with the eps that it usually has."""
        return cls(kind=kind, eps=1e-6 if kind == "layer" else 1e-5)

    def __post_init__(self) -> None:
        """Raise UserError for a number that is out of range."""
        check(self, groups=(1, 8192), eps=(0, 1))
