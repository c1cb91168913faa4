"""Configs of training augmentation: a recipe has a list of them, which are applied in order.

`probability` is that of the augmentation for one image. Those that mix images end at `until`, a fraction of the
training: its last epochs see images as they are.
"""

from typing import TypeAlias

from cascade_rcnn.config.checks import LEAST, Config, check
from cascade_rcnn.errors import UserError

Range: TypeAlias = tuple[float, float]  # the smallest and the largest value, between which one is drawn


class HorizontalFlipConfig(Config, frozen=True, kw_only=True, tag="horizontal_flip"):
    """Left and right are exchanged."""

    probability: float = 0.5

    def __post_init__(self) -> None:
        """Raises UserError for a number that is out of range."""
        _check(self)


class VerticalFlipConfig(Config, frozen=True, kw_only=True, tag="vertical_flip"):
    """Top and bottom are exchanged: for images that have no up, such as those from above."""

    probability: float = 0.5

    def __post_init__(self) -> None:
        """Raises UserError for a number that is out of range."""
        _check(self)


class Rotate90Config(Config, frozen=True, kw_only=True, tag="rotate90"):
    """A turn by 90, 180 or 270 degrees, after which boxes are as tight as before."""

    probability: float = 0.75  # with which all four directions are equally frequent

    def __post_init__(self) -> None:
        """Raises UserError for a number that is out of range."""
        _check(self)


class ScaleJitterConfig(Config, frozen=True, kw_only=True, tag="scale_jitter"):
    """Large-scale jitter (Ghiasi et al. 2021): images of `scale` times a square canvas, cropped or padded to it.

    Train with the canvas's side as the model's `min_size` and `max_size`.
    """

    scale: Range = (0.1, 2.0)
    size: int = 1024  # side of the canvas in pixels

    def __post_init__(self) -> None:
        """Raises UserError for a range that is none, or a canvas without pixels."""
        _check(self, scale=(0.01, 10), size=(32, 8192))


class IoUCropConfig(Config, frozen=True, kw_only=True, tag="iou_crop"):
    """A part of the image that contains some object to a degree that is drawn, too (SSD, Liu et al. 2016).

    Objects whose centre is cut off are left out; the others' boxes are clipped.
    """

    probability: float = 0.5
    smallest: float = 0.3  # part of the image's width and height

    def __post_init__(self) -> None:
        """Raises UserError for a number that is out of range."""
        _check(self, smallest=(0.05, 1))


class ColorConfig(Config, frozen=True, kw_only=True, tag="color"):
    """Each of brightness, contrast, saturation and hue with `probability`, as SSD has it."""

    probability: float = 0.5
    brightness: int = 32  # levels of 255, added or subtracted
    contrast: Range = (0.5, 1.5)  # factors
    saturation: Range = (0.5, 1.5)
    hue: float = 0.1  # of the colour circle, either way

    def __post_init__(self) -> None:
        """Raises UserError for a number that is out of range."""
        _check(self, brightness=(0, 255), contrast=(0, 10), saturation=(0, 10), hue=(0, 0.5))


class JPEGConfig(Config, frozen=True, kw_only=True, tag="jpeg"):
    """Compressed again, with a quality from this range."""

    probability: float = 0.5
    quality: tuple[int, int] = (40, 95)

    def __post_init__(self) -> None:
        """Raises UserError for a number that is out of range."""
        _check(self, quality=(1, 100))


class BlurConfig(Config, frozen=True, kw_only=True, tag="blur"):
    """Gaussian blur."""

    probability: float = 0.3
    sigma: Range = (0.1, 1.5)  # pixels

    def __post_init__(self) -> None:
        """Raises UserError for a number that is out of range."""
        _check(self, sigma=(LEAST, 20))


class NoiseConfig(Config, frozen=True, kw_only=True, tag="noise"):
    """Gaussian noise, independent in each pixel and channel."""

    probability: float = 0.3
    sigma: Range = (0.0, 0.05)  # of the whole range of values

    def __post_init__(self) -> None:
        """Raises UserError for a number that is out of range."""
        _check(self, sigma=(0, 1))


class MosaicConfig(Config, frozen=True, kw_only=True, tag="mosaic"):
    """Parts of four images around a point (Bochkovskiy et al. 2020), on a canvas of the first one's size.

    Each image is scaled by a factor from `scale`, or to fill its part if that is more.
    """

    probability: float = 0.5
    scale: Range = (0.5, 1.0)
    until: float = 0.8

    def __post_init__(self) -> None:
        """Raises UserError for a number that is out of range."""
        _check(self, scale=(0.05, 10), until=(0, 1))


class MixUpConfig(Config, frozen=True, kw_only=True, tag="mixup"):
    """The weighted mean of two images, with the objects of both (Zhang et al. 2019)."""

    probability: float = 0.15
    alpha: float = 32.0  # the weight is drawn from Beta(alpha, alpha): the larger, the closer to one half
    until: float = 0.8

    def __post_init__(self) -> None:
        """Raises UserError for a number that is out of range."""
        _check(self, alpha=(0.01, 1000), until=(0, 1))


class CopyPasteConfig(Config, frozen=True, kw_only=True, tag="copy_paste"):
    """Objects of another image pasted in along their masks (Ghiasi et al. 2021); what they cover gets smaller boxes.

    Without masks there is nothing to cut along, and training refuses it: a rectangle would bring its background along,
    whose edges are where boxes are learned.
    """

    probability: float = 0.5
    objects: float = 0.5  # the share of the other image's objects that are pasted
    scale: Range = (0.5, 1.0)  # of the other image, on the canvas
    until: float = 1.0

    def __post_init__(self) -> None:
        """Raises UserError for a number that is out of range."""
        _check(self, objects=(0, 1), scale=(0.05, 10), until=(0, 1))


AugmentationConfig: TypeAlias = (
    HorizontalFlipConfig
    | VerticalFlipConfig
    | Rotate90Config
    | ScaleJitterConfig
    | IoUCropConfig
    | ColorConfig
    | JPEGConfig
    | BlurConfig
    | NoiseConfig
    | MosaicConfig
    | MixUpConfig
    | CopyPasteConfig
)


def _check(config: Config, **limits: tuple[float, float]) -> None:
    """As `check`, naming the augmentation; probabilities are from 0 to 1, and ranges ascend."""
    kind = config.__struct_config__.tag
    probability = {"probability": (0.0, 1.0)} if hasattr(config, "probability") else {}
    try:
        check(config, **probability, **limits)
    except UserError as error:
        raise UserError(f"augmentation {kind}: {error}") from None
    for name in limits:
        value = getattr(config, name)
        if isinstance(value, tuple) and value[0] > value[1]:
            raise UserError(f"augmentation {kind}: {name} is {value[0]:g} to {value[1]:g}; give the smaller one first")
