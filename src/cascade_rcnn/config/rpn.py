"""Configs of the region proposal network (H0)."""

from typing import Literal

from cascade_rcnn.config.checks import LEAST, MOST, Config, check
from cascade_rcnn.config.losses import BoxLossConfig, SmoothL1Config
from cascade_rcnn.errors import UserError


class AnchorConfig(Config, frozen=True, kw_only=True):
    """Sizes of each level (one, or several), from the finest map on; without a pyramid there is one level."""

    sizes: tuple[int | tuple[int, ...], ...] = (32, 64, 128, 256, 512)
    ratios: tuple[float, ...] = (0.5, 1.0, 2.0)  # height / width
    rounded: bool = False  # torchvision rounds the corners of its base anchors
    measured_stride: bool = False  # torchvision's stride: input size / map size, rounded down (P6: often below 64)
    offset: float = 0.0  # of the first anchor's centre from the corner, in strides; the released code: .5

    def __post_init__(self) -> None:
        """Raises UserError for more anchors than a map can have, and for sizes that are none."""
        each = max((len(level) for level in self.levels), default=0)
        if not (1 <= len(self.sizes) <= 5 and 1 <= each * len(self.ratios) <= 256 and all(self.levels)):
            raise UserError(
                f"anchors: {len(self.sizes)} levels of up to {each} sizes x {len(self.ratios)} ratios; give 1 to 5 "
                "levels and at most 256 anchors at a place"
            )
        check(self, sizes=(LEAST, MOST), ratios=(1e-3, 1e3), offset=(0, 1))

    @property
    def levels(self) -> tuple[tuple[int, ...], ...]:
        """The sizes of each level, one or several."""
        return tuple((size,) if isinstance(size, int) else size for size in self.sizes)


class RPNConfig(Config, frozen=True, kw_only=True):
    """The region proposal network: its layers, its proposals, and how it is trained."""

    anchors: AnchorConfig = AnchorConfig()
    convs: int = 1  # 3x3 convolutions before the two outputs
    channels: int | None = None  # of these; None: as many as the maps it reads
    shared: bool = True  # one set of weights for all levels; the released code has one for each

    pre_nms_train: int = 2000  # per level
    pre_nms_test: int = 1000
    post_nms_train: int = 1000  # per image
    post_nms_test: int = 1000
    nms_iou: float = 0.7
    min_size: float = 0.0  # proposals up to this width or height are dropped

    samples: int = 256
    positive_fraction: float = 0.5
    positive_iou: float = 0.7
    negative_iou: float = 0.3
    low_quality_iou: float = 0.0  # an object's best anchor is positive too, from this IoU on
    low_quality_reassigns: bool = False  # ... and then learns that object, not the one it overlaps most
    by_level: bool = False  # each level has its own sample, and an equal share of samples and loss
    # which anchors are trained, by the image's border; mostly: at most a quarter of width and height lies beyond
    trained_anchors: Literal["all", "centre-inside", "mostly-inside", "inside"] = "all"
    box_loss: BoxLossConfig = SmoothL1Config()
    # the box loss is a sum over the positives' coordinates, divided by the number of samples or of those coordinates
    box_normalizer: Literal["samples", "coordinates"] = "samples"

    def __post_init__(self) -> None:
        """Raises UserError for a number that is out of range."""
        check(self, convs=(1, 16), channels=(1, 65536), samples=(1, MOST), min_size=(0, MOST), nms_iou=(0, 1))
        check(self, **dict.fromkeys(("pre_nms_train", "pre_nms_test", "post_nms_train", "post_nms_test"), (1, MOST)))
        check(self, **dict.fromkeys(("positive_fraction", "positive_iou", "negative_iou", "low_quality_iou"), (0, 1)))
