"""Construction of a transform from a list of configs."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms import v2

from cascade_rcnn.config.augmentation import (
    AugmentationConfig,
    BlurConfig,
    ColorConfig,
    CopyPasteConfig,
    HorizontalFlipConfig,
    IoUCropConfig,
    JPEGConfig,
    MixUpConfig,
    MosaicConfig,
    NoiseConfig,
    Rotate90Config,
    ScaleJitterConfig,
    VerticalFlipConfig,
)
from cascade_rcnn.config.augmentation_lists import parse, with_short_forms
from cascade_rcnn.data.augmentation.color import blur, color, jpeg, noise, to_kind
from cascade_rcnn.data.augmentation.copy_paste import CopyPaste
from cascade_rcnn.data.augmentation.crop import IoUCrop
from cascade_rcnn.data.augmentation.geometry import Rotate90
from cascade_rcnn.data.augmentation.mixing import Mixing, MixUp, Mosaic
from cascade_rcnn.data.augmentation.scale import LargeScaleJitter
from cascade_rcnn.data.targets import Sample, Target, apply
from cascade_rcnn.errors import UserError

BUILDERS: dict[type[Any], Callable[[Any], v2.Transform | Mixing]] = {
    HorizontalFlipConfig: lambda config: v2.RandomHorizontalFlip(config.probability),
    VerticalFlipConfig: lambda config: v2.RandomVerticalFlip(config.probability),
    Rotate90Config: lambda config: Rotate90(config.probability),
    ScaleJitterConfig: lambda config: LargeScaleJitter(config.scale, config.size),
    IoUCropConfig: lambda config: IoUCrop(config.probability, config.smallest),
    ColorConfig: color,
    JPEGConfig: jpeg,
    BlurConfig: blur,
    NoiseConfig: noise,
    MosaicConfig: Mosaic,
    MixUpConfig: MixUp,
    CopyPasteConfig: CopyPaste,
}


class Augmentation:
    """A list of augmentations as one transform of a `Dataset`, which provides the other images for mixing."""

    def __init__(self, steps: Sequence[v2.Transform | Mixing]) -> None:
        self.steps: list[v2.Transform | Mixing] = []
        plain: list[v2.Transform] = []
        for step in [*steps, None]:
            if isinstance(step, v2.Transform):
                plain.append(step)
                continue
            if plain:  # one call for all of them is faster
                self.steps.append(v2.Compose(plain))
                plain = []
            if step is not None:
                self.steps.append(step)

    @property
    def needs_masks(self) -> bool:
        """Whether any of them needs the masks of objects."""
        return any(isinstance(step, CopyPaste) for step in self.steps)

    def sample(self, image: Tensor, target: Target, draw: Callable[[], Sample], progress: float = 0.0) -> Sample:
        """Augment an image (3, H, W), uint8 or floating point 0..1, and its target.

        `draw` returns another sample of the dataset, not augmented; `progress` is the fraction of the training run that
        has passed.
        """
        for k, step in enumerate(self.steps):
            if not isinstance(step, Mixing):
                image, target = apply(step, image, target)
            elif progress < step.until and float(torch.rand(())) < step.probability:
                image, target = step.mix(image, target, partial(self._drawn, draw, k, image.dtype))
        return image, target

    def _drawn(self, draw: Callable[[], Sample], steps: int, kind: torch.dtype) -> Sample:
        """Draw another sample of this type, augmented by those of the first `steps` steps that do not mix images."""
        image, target = draw()
        image = to_kind(image, kind)
        for step in self.steps[:steps]:
            if not isinstance(step, Mixing):
                image, target = apply(step, image, target)
        return image, target


def build_augmentation(
    augmentation: str | Sequence[str | AugmentationConfig | Mapping[str, Any]],
) -> Augmentation:
    """Build a transform for a `Dataset` from the configs or names of augmentations, or names of lists, in order.

    Raises UserError for an unknown name or a number out of range.

    >>> dataset = Dataset(load_annotations("shapes/train.json"), build_augmentation("natural mosaic:probability=0.3"))
    >>> image, target = dataset[0, 1]  # the second number is a seed
    """
    return Augmentation([BUILDERS[type(config)](config) for config in parse(augmentation)])


def build_transforms(
    flip: float = 0.5,
    photometric: float = 0.0,
    jitter: tuple[float, float] | None = None,
    jitter_size: int = 1024,
) -> v2.Compose:
    """Build torchvision transforms of (image, target) from the most common augmentations.

    `flip` is the probability of a horizontal flip, and `photometric` that of each change in brightness, contrast,
    saturation and hue. `jitter` is the range of scales for large-scale jitter on a square canvas of `jitter_size`
    pixels (None: no jitter). Images are tv_tensors.Image (3, H, W), uint8 or floating point 0..1. All augmentations
    are available from `build_augmentation`, whose transforms need a `Dataset`. Raises UserError for a value out of
    range.

    >>> from torchvision.transforms import v2
    >>> transforms = v2.Compose([build_transforms(flip=0.5, photometric=0.5), v2.RandomVerticalFlip()])
    >>> image, target = Dataset(load_annotations("shapes/train.json"), transforms)[0]
    """
    for name, probability in (("flip", flip), ("photometric", photometric)):
        if not 0 <= probability <= 1:
            raise UserError(f"{name} is {probability}; give a probability between 0 and 1")
    scale = None if jitter is None else ScaleJitterConfig(scale=jitter, size=jitter_size)
    configs = with_short_forms((), flip, photometric, scale)
    steps: list[Any] = [BUILDERS[type(config)](config) for config in configs]
    return v2.Compose(steps or [v2.Identity()])
