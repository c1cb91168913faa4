"""Configs of the region proposal network (H0)."""

from typing import ClassVar, Literal

from cascade_rcnn.config.checks import MOST, Config, check
from cascade_rcnn.config.losses import BoxLossConfig, SmoothL1Config
from cascade_rcnn.errors import UserError


class AnchorConfig(Config, frozen=True, kw_only=True):
    """Anchor sizes per level (one or several each), finest level first; without a pyramid there is one level."""

    sizes: tuple[int | tuple[int, ...], ...] = (32, 64, 128, 256, 512)
    ratios: tuple[float, ...] = (0.5, 1.0, 2.0)  # height / width
    rounded: bool = False  # torchvision rounds the corners of its base anchors
    measured_stride: bool = False  # torchvision: floor(input size / map size), often below 64 for P6
    offset: float = 0.0  # of the first anchor's centre from the corner, in strides; 0.5 in the released code

    def __post_init__(self) -> None:
        """Raise UserError for too many anchors, or invalid sizes."""
        each = max((len(level) for level in self.levels), default=0)
        if not (1 <= len(self.sizes) <= 5 and 1 <= each * len(self.ratios) <= 256 and all(self.levels)):
            raise UserError(
                f"anchors: {len(self.sizes)} levels of up to {each} sizes x {len(self.ratios)} ratios; give 1 to 5 "
                "levels and at most 256 anchors per location"
            )
        check(self, sizes=(1, MOST), ratios=(1e-3, 1e3), offset=(0, 1))

    @property
    def levels(self) -> tuple[tuple[int, ...], ...]:
        """The sizes of each level, always as tuples."""
        return tuple((size,) if isinstance(size, int) else size for size in self.sizes)


class RPNConfig(Config, frozen=True, kw_only=True):
    """The layers, proposals and training of the region proposal network."""

    limits: ClassVar = {
        "convs": (1, 16),
        "channels": (1, 65536),
        "samples": (1, MOST),
        "min_size": (0, MOST),
        "nms_iou": (0, 1),
        **dict.fromkeys(("pre_nms_train", "pre_nms_test", "post_nms_train", "post_nms_test"), (1, MOST)),
        **dict.fromkeys(("positive_fraction", "positive_iou", "negative_iou", "low_quality_iou"), (0, 1)),
    }

    anchors: AnchorConfig = AnchorConfig()
    convs: int = 1  # 3x3 convolutions before the two outputs
    channels: int | None = None  # of these convolutions; None: those of the feature maps
    shared: bool = True  # share weights between levels; the released code does not

    pre_nms_train: int = 2000  # per level
    pre_nms_test: int = 1000
    post_nms_train: int = 1000  # per image
    post_nms_test: int = 1000
    nms_iou: float = 0.7
    min_size: float = 0.0  # proposals are dropped unless width and height exceed this

    samples: int = 256
    positive_fraction: float = 0.5
    positive_iou: float = 0.7
    negative_iou: float = 0.3
    low_quality_iou: float = 0.0  # an object's best anchor is also positive if it has at least this IoU
    low_quality_reassigns: bool = False  # ... and is then assigned to that object, not the one it overlaps most
    by_level: bool = False  # sample each level separately, with an equal share of samples and loss
    # anchors used in training; "mostly-inside": at most a quarter of their width and height is outside the image
    trained_anchors: Literal["all", "centre-inside", "mostly-inside", "inside"] = "all"
    box_loss: BoxLossConfig = SmoothL1Config()
    # the box loss, summed over the positives' coordinates, is divided by the number of samples or of coordinates
    box_normalizer: Literal["samples", "coordinates"] = "samples"
