"""Preprocessing: convert lists of images and targets to dense batches.

Resizing, normalisation and padding are part of the model, as in torchvision's detectors.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cascade_rcnn import boxes as box_ops
from cascade_rcnn.config import PreprocessConfig
from cascade_rcnn.errors import UserError, reason
from cascade_rcnn.images.resizing import padded_size, resized_size
from cascade_rcnn.images.tensors import to_tensor
from cascade_rcnn.masks import Masks
from cascade_rcnn.structures import ImageBatch, TargetExtras, Targets
from cascade_rcnn.text import count

MinSize: TypeAlias = int | Literal["model"] | None


class Preprocess(nn.Module):
    """Resize, normalise and pad images of any size into one batch, and scale their boxes accordingly."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: PreprocessConfig, num_classes: int, divisor: int) -> None:
        """Height and width are padded to multiples of `divisor`."""
        super().__init__()
        self.config, self.num_classes, self.divisor = config, num_classes, divisor
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
        return ImageBatch(pixels, self.mean.new_tensor(sizes), self.mean.new_tensor(given))

    def _short_side(self) -> int | None:
        sizes = self.config.min_size or ()
        if len(sizes) == 0:
            return None
        drawn = int(torch.randint(len(sizes), ())) if self.training and len(sizes) > 1 else len(sizes) - 1
        return sizes[drawn]

    def _scale(self, image: Tensor) -> Tensor:
        # The caller keeps pinned images until NMS has waited for the GPU, and with it for this copy.
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

    def targets(self, targets: Sequence[Mapping[str, Any]], images: ImageBatch, extras: Sequence[str] = ()) -> Targets:
        """Batch torchvision's target dicts: `boxes` (N, 4) XYXY, `labels` (N,) in 1..M, optional `iscrowd` (N,).

        Boxes may also be `tv_tensors.BoundingBoxes` of any format, and all fields lists or arrays. `extras` are further
        fields to batch, with a row per box; `masks` are (N, H, W) at the original size of the image, which they keep,
        or `Masks`. Empty boxes are ignored. Raises UserError naming the invalid entry.
        """
        device = images.pixels.device
        given = [_fields(k, target, extras) for k, target in enumerate(targets)]
        slots = max(1, *(len(one["boxes"]) for one in given))
        boxes = torch.zeros((len(given), slots, 4), dtype=torch.float32, device="cpu")
        labels = torch.zeros((len(given), slots), dtype=torch.int64, device="cpu")
        crowd = torch.zeros((len(given), slots), dtype=torch.bool, device="cpu")
        for k, one in enumerate(given):
            number = len(one["boxes"])
            boxes[k, :number], labels[k, :number] = one["boxes"].cpu(), one["labels"].cpu()
            if "iscrowd" in one:
                crowd[k, :number] = one["iscrowd"].cpu().bool()
            self._check(k, boxes[k, :number], labels[k, :number])
        if bool((boxes <= 1).all() & (boxes % 1 != 0).any()):
            note = "targets: all boxes of this batch lie within one pixel; give pixels, not fractions of the image"
            warnings.warn(note, stacklevel=2)
        scale = (images.sizes / images.original_sizes).flip(-1)
        boxes = boxes * scale.cpu().repeat(1, 2)[:, None]
        real = box_ops.nonempty(boxes)
        ignore = (real & crowd).to(device) if bool(crowd.any()) else None
        columns = {name: [one[name] for one in given] for name in extras}
        batched: TargetExtras = {
            name: _encoded(values, images, device) if name == "masks" else _padded(name, values, slots, device)
            for name, values in columns.items()
        }
        return Targets(boxes.to(device), labels.to(device), (real & ~crowd).to(device), ignore, batched, scale)

    def _check(self, k: int, boxes: Tensor, labels: Tensor) -> None:
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


def _listed(images: Any) -> list[Any]:
    """Return images given as a list or as a batch (B, ...); iterating over a single one would give its rows."""
    shape, listed = getattr(images, "shape", ()), isinstance(images, Sequence) and not isinstance(images, str | bytes)
    if not listed and len(shape) != 4:
        given = f"of shape {tuple(shape)}" if shape else f"a {type(images).__name__}"
        raise UserError(f"images is {given}; give a list of tensors (3, height, width), or a batch of them")
    if len(images) == 0:
        raise UserError("the list of images is empty; pass at least one image")
    return list(images)


def _fields(k: int, target: Mapping[str, Any], others: Sequence[str]) -> dict[str, Any]:
    """Return the fields of target k as tensors with one row per box, boxes as XYXY. Raises UserError if they are not.

    `others` are needed besides boxes and labels; masks may be encoded.
    """
    if not isinstance(target, Mapping):
        raise UserError(f"targets[{k}] is a {type(target).__name__}; give a dict of boxes (N, 4) and labels (N,)")
    for name in ("boxes", "labels", *others):
        if name not in target:
            more = "".join(f", {other} (N, ...)" for other in others)
            raise UserError(
                f"targets[{k}] has no '{name}'; give boxes (N, 4) and labels (N,){more}, with N = 0 if there are "
                "no objects"
            )
    fields: dict[str, Any] = {}
    for name in ("boxes", "labels", "iscrowd", *others):
        if name not in target:
            continue
        try:
            value = target[name] if isinstance(target[name], Masks) else torch.as_tensor(target[name])
            fields[name] = box_ops.to_xyxy(value) if name == "boxes" else value
        except (TypeError, ValueError, RuntimeError) as error:
            raise UserError(f"targets[{k}]['{name}'] cannot be read ({reason(error)}); give a tensor") from None
        if name == "boxes" and len(value) and value.dtype in (torch.bfloat16, torch.float16):  # type: ignore[union-attr]
            raise UserError(
                f"targets[{k}]['boxes'] are {value.dtype}, in which pixels are rounded; keep them float32 (mixed "
                "precision of Lightning Fabric converts a model's inputs: use torch.autocast instead)"
            )
    boxes, labels = fields.pop("boxes"), fields["labels"]
    boxes = boxes if boxes.numel() else boxes.reshape(0, 4)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise UserError(f"targets[{k}]['boxes'] has shape {tuple(boxes.shape)}; give (N, 4), XYXY pixels")
    for name, value in fields.items():
        if isinstance(value, Tensor) and (value.ndim == 0 or (value.ndim > 1 and name not in others)):
            raise UserError(f"targets[{k}]['{name}'] has shape {tuple(value.shape)}; give one row per box")
        if len(value) != len(boxes):
            raise UserError(f"targets[{k}] has {count(len(boxes), 'box')} and {len(value)} {name}; give one per box")
    if labels.is_floating_point() and len(labels):
        raise UserError(f"targets[{k}]['labels'] are {labels.dtype}; give integers, torch.int64")
    return fields | {"boxes": boxes}


def _encoded(columns: Sequence[Tensor | Masks], images: ImageBatch, device: torch.device) -> tuple[Masks, ...]:
    """Encode the masks of each image. Raises UserError if their size differs from the image's."""
    sizes = images.original_sizes.int().tolist()
    # Without objects, masks may have any shape, such as that of torch.tensor([]).
    dense = (one if len(one) else torch.zeros(0, *size) for one, size in zip(columns, sizes, strict=True))
    masks = tuple(one if isinstance(one, Masks) else Masks.encode(one) for one in dense)
    for k, (one, size) in enumerate(zip(masks, sizes, strict=True)):
        if one.size != tuple(size):
            raise UserError(
                f"targets[{k}]['masks'] are {one.size[0]}x{one.size[1]} pixels, but the image is "
                f"{size[0]}x{size[1]}; give masks of its size"
            )
    return tuple(one.to(device) for one in masks)


def _padded(name: str, columns: list[Tensor], slots: int, device: torch.device) -> Tensor:
    """Pad and stack one field of all targets: (N, ...) each -> (B, slots, ...).

    Without objects, a field may have any shape and type. Raises UserError if the rows of others differ in shape.
    """
    filled = [k for k, column in enumerate(columns) if len(column)] or [0]
    shape, kind = columns[filled[0]].shape[1:], columns[filled[0]].dtype
    for k in filled:
        if columns[k].shape[1:] != shape:
            both = [f"targets[{j}]['{name}'] has shape {tuple(columns[j].shape)}" for j in (filled[0], k)]
            raise UserError(f"{both[0]}, but {both[1]}; give rows of one shape")
        kind = torch.promote_types(kind, columns[k].dtype)
    table = torch.zeros((len(columns), slots, *shape), dtype=kind, device=device)
    for k in filled:
        table[k, : len(columns[k])] = columns[k]
    return table
