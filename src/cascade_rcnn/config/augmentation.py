"""Configs of training augmentations. A recipe has a list of them, applied in order.

`probability` is the chance that an image is augmented. Augmentations that mix images stop at `until`, a fraction of the
training run, so that it ends with unmixed images.
"""

from typing import ClassVar, TypeAlias

from cascade_rcnn.config.checks import LEAST, Config, check
from cascade_rcnn.errors import UserError

Range: TypeAlias = tuple[float, float]  # a value between the two is drawn


class _Augmentation(Config, frozen=True, kw_only=True):
    """What augmentations have in common."""

    def __post_init__(self) -> None:
        """Raise UserError, which names the augmentation, for a number out of range, or a range in the wrong order."""
        kind = self.__struct_config__.tag
        probability = {"probability": (0.0, 1.0)} if hasattr(self, "probability") else {}
        try:
            check(self, **probability, **self.limits)
        except UserError as error:
            raise UserError(f"augmentation {kind}: {error}") from None
        for name in self.limits:
            value = getattr(self, name)
            if isinstance(value, tuple) and value[0] > value[1]:
                raise UserError(
                    f"augmentation {kind}: {name} is {value[0]:g} to {value[1]:g}; give the smaller one first"
                )


class HorizontalFlipConfig(_Augmentation, frozen=True, kw_only=True, tag="horizontal_flip"):
    """Flip the image horizontally."""

    probability: float = 0.5


class VerticalFlipConfig(_Augmentation, frozen=True, kw_only=True, tag="vertical_flip"):
    """Flip the image vertically, for images without a natural orientation, such as aerial ones."""

    probability: float = 0.5


class Rotate90Config(_Augmentation, frozen=True, kw_only=True, tag="rotate90"):
    """Rotate the image by 90, 180 or 270 degrees, which keeps boxes tight."""

    probability: float = 0.75  # makes all four orientations equally likely


class ScaleJitterConfig(_Augmentation, frozen=True, kw_only=True, tag="scale_jitter"):
    """Large-scale jitter (Ghiasi et al. 2021): resize to `scale` times a square canvas, then crop or pad to it.

    Train with the side of the canvas as the model's `min_size` and `max_size`.
    """

    limits: ClassVar = {"scale": (0.01, 10), "size": (32, 8192)}

    scale: Range = (0.1, 2.0)
    size: int = 1024  # side of the canvas in pixels


class IoUCropConfig(_Augmentation, frozen=True, kw_only=True, tag="iou_crop"):
    """Crop a random part of the image that overlaps an object by at least a random IoU (SSD, Liu et al. 2016).

    Objects whose centre lies outside the crop are dropped, except crowds; the boxes of the others are clipped.
    """

    limits: ClassVar = {"smallest": (0.05, 1)}

    probability: float = 0.5
    smallest: float = 0.3  # fraction of the image's width and height


class ColorConfig(_Augmentation, frozen=True, kw_only=True, tag="color"):
    """Change brightness, contrast, saturation and hue, each with `probability` (SSD's photometric distortion)."""

    limits: ClassVar = {"brightness": (0, 255), "contrast": (0, 10), "saturation": (0, 10), "hue": (0, 0.5)}

    probability: float = 0.5
    brightness: int = 32  # maximum change, in levels of 255
    contrast: Range = (0.5, 1.5)  # factor
    saturation: Range = (0.5, 1.5)  # factor
    hue: float = 0.1  # maximum shift, as a fraction of the colour circle


class JPEGConfig(_Augmentation, frozen=True, kw_only=True, tag="jpeg"):
    """Compress the image as JPEG, with a quality from this range."""

    limits: ClassVar = {"quality": (1, 100)}

    probability: float = 0.5
    quality: tuple[int, int] = (40, 95)


class BlurConfig(_Augmentation, frozen=True, kw_only=True, tag="blur"):
    """Blur the image with a Gaussian kernel."""

    limits: ClassVar = {"sigma": (LEAST, 20)}

    probability: float = 0.3
    sigma: Range = (0.1, 1.5)  # pixels


class NoiseConfig(_Augmentation, frozen=True, kw_only=True, tag="noise"):
    """Add Gaussian noise, independent for each pixel and channel."""

    limits: ClassVar = {"sigma": (0, 1)}

    probability: float = 0.3
    sigma: Range = (0.0, 0.05)  # as a fraction of the range of pixel values


class MosaicConfig(_Augmentation, frozen=True, kw_only=True, tag="mosaic"):
    """Combine parts of four images around a point (Bochkovskiy et al. 2020), on a canvas of the first image's size.

    Each image is resized by a factor from `scale`, or by more if it takes more to fill its part.
    """

    limits: ClassVar = {"scale": (0.05, 10), "until": (0, 1)}

    probability: float = 0.5
    scale: Range = (0.5, 1.0)
    until: float = 0.8


class MixUpConfig(_Augmentation, frozen=True, kw_only=True, tag="mixup"):
    """Blend two images, with the objects of both (mixup, Zhang et al. 2019)."""

    limits: ClassVar = {"alpha": (0.01, 1000), "until": (0, 1)}

    probability: float = 0.15
    alpha: float = 32.0  # the weight is drawn from Beta(alpha, alpha): the larger, the closer to 0.5
    until: float = 0.8


class CopyPasteConfig(_Augmentation, frozen=True, kw_only=True, tag="copy_paste"):
    """Paste objects of another image along their masks (Ghiasi et al. 2021); objects they cover get smaller boxes.

    This needs masks, and training refuses to do without: pasted rectangles would have artificial edges exactly where
    boxes are learned.
    """

    limits: ClassVar = {"objects": (0, 1), "scale": (0.05, 10), "until": (0, 1)}

    probability: float = 0.5
    objects: float = 0.5  # fraction of the other image's objects to paste
    scale: Range = (0.5, 1.0)  # size of the other image relative to the canvas
    until: float = 1.0


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
