"""Preprocessing: convert lists of images to dense batches.

Resizing, normalisation and padding are part of the model, as in torchvision's detectors.
"""

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cascade_rcnn.config import PreprocessConfig
from cascade_rcnn.devices import send
from cascade_rcnn.errors import UserError
from cascade_rcnn.images.resizing import padded_size, resized_size
from cascade_rcnn.images.tensors import to_tensor
from cascade_rcnn.structures import ImageBatch

MinSize: TypeAlias = int | Literal["model"] | None


class Preprocess(nn.Module):
    """Resize, normalise and pad images of any size into one batch."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: PreprocessConfig, divisor: int) -> None:
        """Height and width are padded to multiples of `divisor`."""
        super().__init__()
        self.config, self.divisor = config, divisor
        for name, values in (("mean", config.mean), ("std", config.std)):  # for 0..255, to keep integer pixels exact
            self.register_buffer(name, torch.tensor([255 * x for x in values])[:, None, None], persistent=False)

    def forward(self, images: Sequence[Tensor], min_size: MinSize = "model", scale: float = 1.0) -> ImageBatch:
        """Batch tensors (3, H_i, W_i), uint8 0..255 or floating point 0..1, on the model's device.

        `min_size` is the short side to resize to, None for no resizing, "model" for the config's value. `scale`
        multiplies the size that this results in. Raises UserError for anything but images; values are only checked on a
        CPU, as the check would wait for a GPU.
        """
        if self.mean.dtype != torch.float32:
            raise UserError(f"the model's weights are {self.mean.dtype}; keep them float32 and use torch.autocast")
        shortest = self._short_side() if min_size == "model" else min_size
        check_values = self.mean.device.type == "cpu" and not torch.compiler.is_compiling()
        images = [to_tensor(image, check_values=check_values) for image in _listed(images)]
        resized = [self._resize(self._scale(image), shortest, scale) for image in images]
        sizes = [image.shape[-2:] for image in resized]
        height, width = padded_size(sizes, self.divisor, self.config.square)
        pixels = self.mean.new_zeros((len(images), 3, height, width)).to(memory_format=torch.channels_last)
        for k, image in enumerate(resized):  # by index: gradients of images do not flow into views from an iteration
            pixels[k, :, : image.shape[1], : image.shape[2]] = (image - self.mean) / self.std
        given = [image.shape[-2:] for image in images]
        both = send(torch.tensor([sizes, given], dtype=torch.float32, device="cpu"), pixels.device)
        return ImageBatch(pixels, *both)

    def _short_side(self) -> int | None:
        sizes = self.config.min_size or ()
        if len(sizes) == 0:
            return None
        drawn = int(torch.randint(len(sizes), ())) if self.training and len(sizes) > 1 else len(sizes) - 1
        return sizes[drawn]

    def _scale(self, image: Tensor) -> Tensor:
        # The caller keeps pinned images until NMS has waited for the GPU, and with it for this copy.
        scaled = send(image, self.mean.device).to(self.mean.dtype)
        scaled = scaled if image.dtype == torch.uint8 else scaled * 255
        return scaled.flip(0) if self.config.bgr else scaled

    def _resize(self, image: Tensor, shortest: int | None, scale: float) -> Tensor:
        height, width = size = (image.shape[-2], image.shape[-1])
        if shortest is not None:
            size = resized_size(height, width, shortest, self.config.max_size, self.config.round_down)
        if scale != 1:
            size = (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
        if size == (height, width):
            return image
        antialias = self.config.antialias
        return F.interpolate(image[None], size=size, mode="bilinear", align_corners=False, antialias=antialias)[0]


def _listed(images: Any) -> list[Any]:
    """Return images given as a list or as a batch (B, ...); iterating over a single one would give its rows."""
    shape, listed = getattr(images, "shape", ()), isinstance(images, Sequence) and not isinstance(images, str | bytes)
    if not listed and len(shape) != 4:
        given = f"of shape {tuple(shape)}" if shape else f"a {type(images).__name__}"
        raise UserError(f"images is {given}; give a list of tensors (3, height, width), or a batch of them")
    if len(images) == 0:
        raise UserError("the list of images is empty; pass at least one image")
    return list(images)
