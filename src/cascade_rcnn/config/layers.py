"""Configs of normalisation layers."""

from typing import ClassVar, Literal

from cascade_rcnn.config.checks import Config


class NormConfig(Config, frozen=True, kw_only=True):
    """A normalisation layer.

    `frozen`: batch normalisation with constant statistics, scale and shift; `affine`: only the statistics are constant;
    `batch`: nothing is constant; `group`: group normalisation (Wu & He 2018); `layer`: layer normalisation over the
    channels at each position.
    """

    limits: ClassVar = {"groups": (1, 8192), "eps": (0, 1)}

    kind: Literal["frozen", "affine", "batch", "group", "layer"] = "frozen"
    groups: int = 32  # `group` only
    eps: float = 1e-5  # 0 for torchvision's COCO weights
    folded: bool = True  # apply constant statistics in the convolution; False rounds like other frameworks

    @classmethod
    def of(cls, kind: Literal["batch", "group", "layer"]) -> "NormConfig":
        """Make the config of a trained layer of this kind, with its usual eps."""
        return cls(kind=kind, eps=1e-6 if kind == "layer" else 1e-5)
