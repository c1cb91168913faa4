"""Preprocessing: convert lists of images and targets to dense batches.

Resizing, normalisation and padding are part of the model, as in torchvision's detectors.
"""

from collections.abc import Sequence
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cascade_rcnn import boxes as box_ops
from cascade_rcnn.config import PreprocessConfig
from cascade_rcnn.errors import UserError
from cascade_rcnn.images import to_tensor
from cascade_rcnn.masks import Masks
from cascade_rcnn.resizing import padded_size, resized_size
from cascade_rcnn.structures import ImageBatch, TargetExtras, Targets
from cascade_rcnn.text import count

MinSize: TypeAlias = int | Literal["model"] | None


class Preprocess(nn.Module):
    """Resize, normalise and pad images of any size into one batch, and scale their boxes accordingly."""

    mean: Tensor
    std: Tensor

    def __init__(
        self, config: PreprocessConfig, num_classes: int, divisor: int, extra_targets: Sequence[str] = ()
    ) -> None:
        """Height and width are padded to multiples of `divisor`; `extra_targets` are more per-box fields to batch."""
        super().__init__()
        self.config, self.num_classes, self.divisor = config, num_classes, divisor
        self.extra_targets = tuple(extra_targets)
        for name, values in (("mean", config.mean), ("std", config.std)):  # for 0..255, to keep integer pixels exact
            self.register_buffer(name, torch.tensor([255 * x for x in values])[:, None, None], persistent=False)

    def forward(self, images: list[Tensor], min_size: MinSize = "model", scale: float = 1.0) -> ImageBatch:
        """Batch tensors (3, H_i, W_i), uint8 0..255 or floating point 0..1, on the model's device.

        `min_size` is the short side to resize to, None for no resizing, "model" for the config's value. `scale`
        multiplies the size that this results in.
        """
        if self.mean.dtype != torch.float32:
            raise UserError(f"the model's weights are {self.mean.dtype}; keep them float32 and use torch.autocast")
        shortest = self._short_side() if min_size == "model" else min_size
        images = [to_tensor(image) for image in images]
        resized = [self._resize(self._scale(image), shortest, scale) for image in images]
        sizes = [image.shape[-2:] for image in resized]
        height, width = padded_size(sizes, self.divisor, self.config.square)
        pixels = self.mean.new_zeros((len(images), 3, height, width)).to(memory_format=torch.channels_last)
        for slot, image in zip(pixels, resized, strict=True):
            slot[:, : image.shape[1], : image.shape[2]] = (image - self.mean) / self.std
        given = [image.shape[-2:] for image in images]
        return ImageBatch(pixels, self.mean.new_tensor(sizes), self.mean.new_tensor(given))

    def _short_side(self) -> int | None:
        sizes = self.config.min_size or ()
        if len(sizes) == 0:
            return None
        drawn = int(torch.randint(len(sizes), ())) if self.training and len(sizes) > 1 else len(sizes) - 1
        return sizes[drawn]

    def _scale(self, image: Tensor) -> Tensor:
        scaled = image.to(self.mean.device, non_blocking=True).to(self.mean.dtype)
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

    def targets(self, targets: list[dict[str, Tensor]], images: ImageBatch, *, boxes_alone: bool = False) -> Targets:
        """Batch torchvision's target dicts: `boxes` (N, 4) XYXY, `labels` (N,) in 1..M, optional `iscrowd` (N,).

        `masks`, if the model learns them, are (N, H, W) at the original size of the image, which they keep, or `Masks`.
        With `boxes_alone`, whatever else the model learns is left out. Empty boxes are ignored. Raises UserError naming
        the invalid entry.
        """
        device, others = images.pixels.device, () if boxes_alone else self.extra_targets
        for k, target in enumerate(targets):
            self._check(k, target, others)
        slots = max(1, *(len(target["boxes"]) for target in targets))
        boxes = torch.zeros((len(targets), slots, 4))
        labels = torch.zeros((len(targets), slots), dtype=torch.int64)
        crowd = torch.zeros((len(targets), slots), dtype=torch.bool)
        for k, target in enumerate(targets):
            box = target["boxes"].reshape(-1, 4).float().cpu()
            boxes[k, : len(box)], labels[k, : len(box)] = box, target["labels"].cpu()
            if "iscrowd" in target:
                crowd[k, : len(box)] = target["iscrowd"].cpu().bool()
        scale = (images.sizes / images.original_sizes).flip(-1)
        boxes = boxes * scale.cpu().repeat(1, 2)[:, None]
        real = box_ops.nonempty(boxes)
        ignore = (real & crowd).to(device) if bool(crowd.any()) else None
        columns = {name: [target[name] for target in targets] for name in others}
        extras: TargetExtras = {
            name: _encoded(values, images, device) if name == "masks" else _padded(values, slots, device)
            for name, values in columns.items()
        }
        return Targets(boxes.to(device), labels.to(device), (real & ~crowd).to(device), ignore, extras, scale)

    def _check(self, k: int, target: dict[str, Tensor], others: Sequence[str]) -> None:
        for name in ("boxes", "labels", *others):
            if name not in target:
                more = "".join(f", {other} (N, ...)" for other in others)
                raise UserError(
                    f"targets[{k}] has no '{name}'; give boxes (N, 4) and labels (N,){more}, with N = 0 if there are "
                    "no objects"
                )
        boxes, labels = target["boxes"], target["labels"]
        if boxes.numel() and (boxes.ndim != 2 or boxes.shape[1] != 4):
            raise UserError(f"targets[{k}]['boxes'] has shape {tuple(boxes.shape)}; give (N, 4), XYXY pixels")
        for name in ("labels", "iscrowd", *others):
            if name in target and len(target[name]) != len(boxes):
                number = count(len(boxes), "box")
                raise UserError(f"targets[{k}] has {number} and {len(target[name])} {name}; give one per box")
        if not bool(boxes.isfinite().all()):
            raise UserError(f"targets[{k}]['boxes'] contains a coordinate that is not finite; give XYXY pixels")
        if boxes.numel() and bool((boxes[:, 2:] < boxes[:, :2]).any()):
            raise UserError(f"targets[{k}]['boxes'] contains a box with x2 < x1 or y2 < y1; give XYXY, not XYWH")
        if len(labels) and not (int(labels.min()) >= 1 and int(labels.max()) <= self.num_classes):
            low, high = int(labels.min()), int(labels.max())
            if low < 1:
                advice = "labels start at 1, 0 is background: remove such boxes, or add 1 to labels that start at 0"
            else:
                advice = f"create it with num_classes={high} or map them"
            raise UserError(
                f"targets[{k}]['labels'] range over {low}..{high}, but this model's are 1..{self.num_classes}; {advice}"
            )


def _encoded(columns: Sequence[Tensor | Masks], images: ImageBatch, device: torch.device) -> tuple[Masks, ...]:
    """Encode the masks of each image. Raises UserError if their size differs from the image's."""
    masks = tuple(one if isinstance(one, Masks) else Masks.encode(one) for one in columns)
    for k, (one, size) in enumerate(zip(masks, images.original_sizes.tolist(), strict=True)):
        if len(one) and one.size != tuple(map(int, size)):
            raise UserError(
                f"targets[{k}]['masks'] are {one.size[0]}x{one.size[1]} pixels, but the image is "
                f"{size[0]:g}x{size[1]:g}; give masks of its size"
            )
    return tuple(one.to(device) for one in masks)


def _padded(columns: list[Tensor], slots: int, device: torch.device) -> Tensor:
    """Pad and stack one field of all targets: (N, ...) each -> (B, slots, ...)."""
    shape = columns[0].shape[1:]
    table = torch.zeros((len(columns), slots, *shape), dtype=columns[0].dtype, device=device)
    for row, column in zip(table, columns, strict=True):
        row[: len(column)] = column
    return table
