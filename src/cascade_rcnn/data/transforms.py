"""Training augmentation out of torchvision.transforms.v2. Resizing to the size to train on belongs to the model.

None of these transforms adds, drops or reorders boxes, so the per-box fields of a target stay aligned.
"""

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from cascade_rcnn.data.jitter import LargeScaleJitter
from cascade_rcnn.errors import UserError

_BRIGHTNESS = 32  # levels of 255, added
_CONTRAST = _SATURATION = (0.5, 1.5)  # factors
_HUE = 18 / 180  # of the colour circle: 18 of the 180 steps of an 8-bit hue


def build_transforms(
    flip: float = 0.5,
    photometric: float = 0.0,
    jitter: tuple[float, float] | None = None,
    jitter_size: int = 1024,
) -> v2.Compose:
    """Horizontal flip with probability `flip`; brightness, contrast, saturation and hue, each with `photometric`.

    `jitter` is the range of `LargeScaleJitter`, whose canvas has sides of `jitter_size`; None: none.
    Takes and returns (tv_tensors.Image (3, H, W) uint8, target). Raises UserError for numbers that cannot be.

    >>> from torchvision.transforms import v2
    >>> transforms = v2.Compose([build_transforms(flip=0.5, photometric=0.5), v2.RandomVerticalFlip()])
    >>> image, target = Dataset(load_annotations("shapes/train.json"), transforms)[0]
    """
    for name, probability in (("flip", flip), ("photometric", photometric)):
        if not 0 <= probability <= 1:
            raise UserError(f"{name} is {probability}; give a probability between 0 and 1")
    steps: list[v2.Transform] = [v2.RandomHorizontalFlip(flip)]
    if photometric > 0:
        steps.append(v2.Lambda(_contiguous, tv_tensors.Image))
        steps += [
            v2.RandomApply([step], photometric)
            for step in (
                v2.Lambda(_shift_brightness, tv_tensors.Image),
                v2.ColorJitter(contrast=_CONTRAST),
                v2.ColorJitter(saturation=_SATURATION),
                v2.ColorJitter(hue=_HUE),
            )
        ]
    if jitter is not None:
        steps.append(LargeScaleJitter(jitter, jitter_size))
    return v2.Compose(steps)


def _contiguous(image: tv_tensors.Image) -> Tensor:
    """Make the image contiguous, which halves the time of the next steps; decoders interleave the channels."""
    return tv_tensors.Image(image.as_subclass(Tensor).contiguous())


def _shift_brightness(image: tv_tensors.Image) -> Tensor:
    """Add a random offset to all pixels (torchvision's own adjustment multiplies instead)."""
    shift = int(torch.randint(-_BRIGHTNESS, _BRIGHTNESS + 1, ()))
    shifted = (image.as_subclass(Tensor).short() + shift).clamp_(0, 255).to(torch.uint8)
    return tv_tensors.Image(shifted)
