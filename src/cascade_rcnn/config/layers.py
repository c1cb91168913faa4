"""Configs of layers."""

from typing import Literal

from cascade_rcnn.config.checks import Config, check


class NormConfig(Config, frozen=True, kw_only=True):
    """A normalisation layer.

    `frozen`: batch norm with constant statistics, scale and shift; `affine`: only the statistics are constant; `batch`:
    regular batch norm; `group`: group normalisation (Wu & He 2018).
    """

    kind: Literal["frozen", "affine", "batch", "group"] = "frozen"
    groups: int = 32  # for `group`
    eps: float = 1e-5  # 0 for torchvision's own COCO weights
    folded: bool = True  # fold constant statistics into the convolution; False rounds like other implementations

    def __post_init__(self) -> None:
        """Raises UserError for a number that is out of range."""
        check(self, groups=(1, 8192), eps=(0, 1))
