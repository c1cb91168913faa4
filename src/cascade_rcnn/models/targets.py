"""Convert torchvision's target dicts to a dense batch, in the coordinates of the batch of images."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from cascade_rcnn import boxes as box_ops
from cascade_rcnn.devices import send
from cascade_rcnn.errors import UserError, reason
from cascade_rcnn.masks import Masks
from cascade_rcnn.structures import ImageBatch, TargetExtras, Targets
from cascade_rcnn.text import count


def batch_targets(
    targets: Sequence[Mapping[str, Any]], images: ImageBatch, num_classes: int, extras: Sequence[str] = ()
) -> Targets:
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
        _check(k, boxes[k, :number], labels[k, :number], num_classes)
    if bool((boxes <= 1).all() & (boxes % 1 != 0).any()):
        note = "targets: all boxes of this batch lie within one pixel; give pixels, not fractions of the image"
        warnings.warn(note, stacklevel=2)
    some_crowd = bool(crowd.any())
    boxes, labels, crowd = (send(x, device) for x in (boxes, labels, crowd))
    scale = (images.sizes / images.original_sizes).flip(-1)
    boxes = boxes * scale.repeat(1, 2)[:, None]
    real = box_ops.nonempty(boxes)
    ignore = real & crowd if some_crowd else None
    columns = {name: [one[name] for one in given] for name in extras}
    batched: TargetExtras = {
        name: _encoded(values, images, device) if name == "masks" else _padded(name, values, slots, device)
        for name, values in columns.items()
    }
    return Targets(boxes, labels, real & ~crowd, ignore, batched, scale)


def _check(k: int, boxes: Tensor, labels: Tensor, num_classes: int) -> None:
    if not bool(boxes.isfinite().all()):
        raise UserError(f"targets[{k}]['boxes'] contains a coordinate that is not finite; give XYXY pixels")
    if boxes.numel() and bool((boxes[:, 2:] < boxes[:, :2]).any()):
        raise UserError(f"targets[{k}]['boxes'] contains a box with x2 < x1 or y2 < y1; give XYXY, not XYWH")
    if len(labels) and not (int(labels.min()) >= 1 and int(labels.max()) <= num_classes):
        low, high = int(labels.min()), int(labels.max())
        if low < 1:
            advice = "labels start at 1, 0 is background: remove such boxes, or add 1 to labels that start at 0"
        else:
            advice = f"create it with num_classes={high} or map them"
        raise UserError(
            f"targets[{k}]['labels'] range over {low}..{high}, but this model's are 1..{num_classes}; {advice}"
        )


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
