"""Protocols of the detector's interchangeable parts. A new part is a file, a config type and a line in models/build.py.

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
        """The number of channels of each map."""
        ...

    @property
    def strides(self) -> tuple[int, ...]:
        """The stride of each map, ascending; images are padded to multiples of the last."""
        ...

    def __call__(self, pixels: Tensor, /) -> list[Tensor]:
        """Map normalised pixels (B, 3, H, W) to L maps (B, channels[l], H / strides[l], W / strides[l])."""
        ...


class LayeredBackbone(Backbone, Protocol):
    """A backbone whose first layers can be frozen, with layer-wise learning rates, like all those of the package."""

    def layers(self) -> Sequence[nn.Module]:
        """Return the network's parts in order, starting at the pixels; together they hold all parameters.

        The first ones can be frozen, and layer-wise learning rates rise from the first to the last.
        """
        ...


class BoxHead(Protocol):
    """A head from features and boxes to class logits and box deltas, pooling included."""

    def __call__(self, features: list[Tensor], boxes: Tensor, /) -> tuple[Tensor, Tensor]:
        """Map boxes (B, K, 4) to logits (B, K, M + 1), background first, and normalised deltas (B, K, R, 4), float32.

        Boxes of size zero are empty slots, whose results are not used.
        """
        ...


class BoxLoss(Protocol):
    """A localization loss per box, on encoded deltas or decoded boxes."""

    def __call__(self, deltas: Tensor, boxes: Tensor, truth: Tensor, coder: BoxCoder, /) -> Tensor:
        """Compare normalised deltas (..., 4) of boxes (..., 4) with the ground truth (..., 4) -> (...)."""
        ...


class RoITask(Protocol):
    """A further prediction per region, such as a mask: trained on the stages' samples, run on the final detections."""

    targets: tuple[str, ...]  # the entries of a target dict that it needs, with one row per object

    def loss(self, features: list[Tensor], trained: Sequence[TrainedOn], targets: Targets, /) -> dict[str, Tensor]:
        """Return losses by name; `targets.extras` holds its entries (B, G, ...), `trained` the stages in order."""
        ...

    def __call__(self, features: list[Tensor], found: Detections, /) -> Detections:
        """Return the detections with more fields (B, D, ...) in `extras`."""
        ...
