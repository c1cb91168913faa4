"""The detector's interchangeable parts. A new one is a file, a config type, and a line in models/build.py.

B images · L maps · K boxes · M classes · R regressors: 1 (class-agnostic) or M
"""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor, nn

from cascade_rcnn.box_coder import BoxCoder
from cascade_rcnn.structures import Detections, Targets, TrainedOn


class Backbone(Protocol):
    """A torch.nn.Module from pixels to feature maps."""

    @property
    def channels(self) -> tuple[int, ...]:
        """The channels of each map."""
        ...

    @property
    def strides(self) -> tuple[int, ...]:
        """The stride of each map, ascending; images are padded to multiples of the last."""
        ...

    def __call__(self, pixels: Tensor, /) -> list[Tensor]:
        """(B, 3, H, W), normalised -> L of (B, channels[l], H / strides[l], W / strides[l])."""
        ...


class LayeredBackbone(Backbone, Protocol):
    """A backbone that can freeze its first layers and decay learning rates by layer, as all of the package's can."""

    def layers(self) -> Sequence[nn.Module]:
        """Return the parts of the network from the pixels on, which together hold all parameters.

        The first ones can be frozen, and layer-wise learning rates rise from the first to the last.
        """
        ...


class BoxHead(Protocol):
    """A head from features and boxes to class logits and box deltas, pooling included."""

    def __call__(self, features: list[Tensor], boxes: Tensor, /) -> tuple[Tensor, Tensor]:
        """Boxes (B, K, 4) -> logits (B, K, M + 1), background first; normalised deltas (B, K, R, 4); float32.

        Boxes of no size are empty slots: what they give is not used.
        """
        ...


class BoxLoss(Protocol):
    """The localization loss of single boxes, on encoded deltas or decoded boxes."""

    def __call__(self, deltas: Tensor, boxes: Tensor, truth: Tensor, coder: BoxCoder, /) -> Tensor:
        """Normalised deltas (..., 4) of boxes (..., 4) against truth (..., 4) -> (...)."""
        ...


class RoITask(Protocol):
    """A further prediction per region, such as a mask: trained on the stages' samples, run on the final detections."""

    targets: tuple[str, ...]  # the entries of a target dict that it learns from, one row an object

    def loss(self, features: list[Tensor], trained: Sequence[TrainedOn], targets: Targets, /) -> dict[str, Tensor]:
        """Its losses by name; `targets.extras` holds its entries (B, G, ...), `trained` the stages in order."""
        ...

    def __call__(self, features: list[Tensor], found: Detections, /) -> Detections:
        """The same detections with more in `extras`, (B, D, ...) by name."""
        ...
