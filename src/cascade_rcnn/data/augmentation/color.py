"""Photometric augmentations of images, uint8 or floating point 0..1, which leave targets unchanged."""

import io
import math
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from cascade_rcnn.config.augmentation import BlurConfig, ColorConfig, JPEGConfig, NoiseConfig


def color(config: ColorConfig) -> v2.Transform:
    """Return a transform that changes brightness, contrast, saturation and hue, each with `config.probability`."""
    steps = (
        v2.Lambda(_Brightness(config.brightness), tv_tensors.Image),
        v2.ColorJitter(contrast=config.contrast),
        v2.ColorJitter(saturation=config.saturation),
        v2.ColorJitter(hue=config.hue),
    )
    apart = [v2.RandomApply([step], config.probability) for step in steps]
    return v2.Compose([v2.Lambda(_contiguous, tv_tensors.Image), *apart])


def jpeg(config: JPEGConfig) -> v2.Transform:
    """Return a transform that adds JPEG artefacts."""
    return v2.RandomApply([v2.Lambda(_JPEG(config.quality), tv_tensors.Image)], config.probability)


def blur(config: BlurConfig) -> v2.Transform:
    """Return torchvision's Gaussian blur, with a kernel that reaches to three times the largest sigma."""
    size = 2 * math.ceil(3 * config.sigma[1]) + 1
    return v2.RandomApply([_Blur(size, config.sigma)], config.probability)


def noise(config: NoiseConfig) -> v2.Transform:
    """Return a transform that adds Gaussian noise of random strength."""
    return v2.RandomApply([v2.Lambda(_Noise(config.sigma), tv_tensors.Image)], config.probability)


def _contiguous(image: tv_tensors.Image) -> Tensor:
    """Make the image contiguous, which halves the time of the following steps: decoders interleave the channels."""
    return tv_tensors.Image(image.as_subclass(Tensor).contiguous())


def to_kind(image: Tensor, kind: torch.dtype) -> Tensor:
    """Convert an image between uint8 0..255 and floating point 0..1."""
    if image.dtype == kind:
        return image
    return functional.to_dtype_image(image, kind, scale=True)


class _Brightness:
    """Add a random offset to all pixels (torchvision's own adjustment multiplies instead)."""

    def __init__(self, limit: int) -> None:
        self.limit = limit

    def __call__(self, image: tv_tensors.Image) -> Tensor:
        shift, pixels = int(torch.randint(-self.limit, self.limit + 1, ())), image.as_subclass(Tensor)
        if pixels.is_floating_point():
            return tv_tensors.Image((pixels + shift / 255).clamp_(0, 1))
        return tv_tensors.Image((pixels.short() + shift).clamp_(0, 255).to(torch.uint8))


class _JPEG:
    """Compress with Pillow (torchvision's own codec is deprecated)."""

    def __init__(self, quality: tuple[int, int]) -> None:
        self.quality = quality

    def __call__(self, image: tv_tensors.Image) -> Tensor:
        quality = int(torch.randint(self.quality[0], self.quality[1] + 1, ()))
        pixels, file = to_kind(image.as_subclass(Tensor), torch.uint8), io.BytesIO()
        Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy()).save(file, format="JPEG", quality=quality)
        with Image.open(file) as again:
            compressed = torch.from_numpy(np.array(again)).permute(2, 0, 1)
        return tv_tensors.Image(to_kind(compressed, image.dtype))


class _Noise:
    def __init__(self, sigma: tuple[float, float]) -> None:
        self.sigma = sigma

    def __call__(self, image: tv_tensors.Image) -> Tensor:
        low, high = self.sigma
        sigma = low + (high - low) * float(torch.rand(()))
        return tv_tensors.Image(functional.gaussian_noise(image, sigma=sigma))


class _Blur(v2.GaussianBlur):
    """Blur images, but not masks; leave images smaller than the kernel unchanged."""

    moves_mask_rows = True

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        fits = isinstance(inpt, tv_tensors.Image) and min(inpt.shape[-2:]) > max(self.kernel_size) // 2  # pyright: ignore[reportArgumentType]
        return super().transform(inpt, params) if fits else inpt
