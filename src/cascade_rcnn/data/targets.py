"""Detection targets, which are torchvision's dicts of boxes, labels and other per-box fields, and their transforms."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from cascade_rcnn.boxes import to_xyxy
from cascade_rcnn.data.mask_rows import MaskRows, moves_rows, to_masks
from cascade_rcnn.errors import UserError
from cascade_rcnn.masks import Masks

Target: TypeAlias = dict[str, Any]  # tensors, and Masks as "masks"
Sample: TypeAlias = tuple[Tensor, Target]  # an image (3, H, W), uint8 or floating point 0..1, and its target
Transforms: TypeAlias = Callable[..., Any]  # from torchvision.transforms.v2: (image, target) -> (image, target)


# An entry of targets during augmentation: the names of fields of the whole image, which may have as many rows as boxes.
PER_IMAGE = "fields of the image"
_ROUNDING = 1e-3  # pixels by which a transform may turn an empty box around


def per_box(target: Target) -> list[str]:
    """Return the names of the per-box fields: boxes, labels, iscrowd, area, masks, and any other with a row per box."""
    number, others = len(target["boxes"]), {"image_id", PER_IMAGE, *target.get(PER_IMAGE, ())}
    values = {name: value for name, value in target.items() if name not in others}
    rows = {name: isinstance(value, Masks) or value.ndim > 0 for name, value in values.items()}
    return [name for name, has in rows.items() if has and len(values[name]) == number]


def inside(target: Target, height: int, width: int) -> Target:
    """Clip boxes to the image, and drop objects whose box or mask is empty from every field.

    Crowds may have an empty mask.
    """
    xs, ys = target["boxes"][:, 0::2].clamp(0, width), target["boxes"][:, 1::2].clamp(0, height)
    boxes = torch.stack((xs, ys), dim=2).flatten(1)
    keep = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
    if isinstance(target.get("masks"), Masks):
        keep &= (target["masks"].bounds[:, 2] > 0) | target["iscrowd"].bool()
    clipped = target | {"boxes": boxes}
    return clipped if keep.all() else clipped | {name: take_rows(clipped[name], keep) for name in per_box(target)}


def masks_as_crowds(target: Target) -> Target:
    """Mark objects without a mask as crowds if the target has masks: they count as neither objects nor background."""
    if not isinstance(target.get("masks"), Masks):
        return target
    without = (target["masks"].bounds[:, 2] == 0).to(target["iscrowd"].dtype)
    return target | {"iscrowd": target["iscrowd"] | without}


def plain(target: Target) -> Target:
    """Convert torchvision's tensor subclasses to plain tensors, and leave out the names of the image's fields."""
    left = {name: value for name, value in target.items() if name != PER_IMAGE}
    return {name: value.as_subclass(Tensor) if isinstance(value, Tensor) else value for name, value in left.items()}


def apply(transforms: Transforms, image: Tensor, target: Target) -> Sample:
    """Apply transforms to an image (3, H, W) and its target; the resulting boxes are XYXY and clipped to the image.

    Where a transform such as `SanitizeBoundingBoxes` drops or reorders boxes and labels, the other per-box fields
    follow. Masks stay encoded in torchvision's transforms; others receive them dense, (G, H, W) uint8. Raises UserError
    if the fields differ in length afterwards, or masks and image in size.
    """
    masks = target.get("masks")
    if isinstance(masks, Masks) and isinstance(transforms, v2.Compose) and not moves_rows(transforms):
        for step in transforms.transforms:  # dense masks only for the steps that need them
            image, target = apply(step, image, target)
        return image, target
    fields, number = per_box(target), len(target["boxes"])
    boxes = tv_tensors.BoundingBoxes(  # pyright: ignore[reportCallIssue]
        target["boxes"], format="XYXY", canvas_size=(image.shape[1], image.shape[2])
    )
    given = target | {"boxes": boxes, "labels": _Labels.of(target["labels"], torch.arange(number))}
    if isinstance(masks, Masks):
        given["masks"] = MaskRows.of(masks) if moves_rows(transforms) else tv_tensors.Mask(masks.dense())
    known = {PER_IMAGE: given.pop(PER_IMAGE)} if PER_IMAGE in given else {}
    image, changed = _transformed(transforms, tv_tensors.Image(image), dict(given))  # it may be changed in place
    if lost := [name for name in fields if name not in changed]:
        raise UserError(f"the transforms returned a target without {', '.join(lost)}; return all of its fields")
    lists = [name for name in fields if isinstance(changed[name], list | np.ndarray)]  # as from Albumentations
    changed |= {name: torch.as_tensor(changed[name], dtype=given[name].dtype) for name in lists}
    changed |= known | _followed(given, changed, fields)
    changed |= {"boxes": _boxes(changed["boxes"]), "labels": changed["labels"].as_subclass(Tensor)}
    if isinstance(masks, Masks):
        changed["masks"] = _checked(to_masks(changed["masks"]), image)
    lengths = {name: len(changed[name]) for name in fields}
    if len(set(lengths.values())) > 1:
        raise UserError(f"the transforms returned fields of lengths {lengths}; drop boxes from all of them alike")
    return image.as_subclass(Tensor), inside(changed, *image.shape[-2:])


def _followed(given: Target, changed: Target, fields: list[str]) -> Target:
    """Return those of the per-box fields that have yet to follow when a transform has dropped or reordered rows."""
    number, rows = len(given["boxes"]), getattr(changed["labels"], "rows", None)
    if rows is None or rows.equal(torch.arange(number)):
        return {}
    if len(rows) != number:
        late = [name for name in fields if len(changed[name]) == number]
    elif changed["boxes"] is given["boxes"]:
        late = []  # objects have got other labels
    else:
        late = [name for name in fields if changed[name] is given[name]]
    return {name: take_rows(changed[name], rows) for name in late}


def _transformed(transforms: Transforms, image: Tensor, target: Target) -> Sample:
    """Call the transforms. Raises UserError unless they return an image and a target."""
    try:
        found = transforms(image, target)
    except Exception as error:
        error.add_note("(in the transforms; they are given an image and its target, and return both)")
        raise
    pair = found if isinstance(found, tuple | list) and len(found) == 2 else (found, None)
    if not (isinstance(pair[0], Tensor) and isinstance(pair[1], Mapping) and {"boxes", "labels"} <= pair[1].keys()):
        kinds = " and ".join(type(one).__name__ for one in pair if one is not None) or "None"
        raise UserError(f"the transforms returned {kinds}; return an image tensor, and a dict with boxes and labels")
    return pair[0], dict(pair[1])  # the transforms may keep a reference to the target


def _boxes(transformed: Tensor) -> Tensor:
    """Return boxes (G, 4) XYXY. Raises UserError for impossible ones, which would be dropped as empty."""
    boxes = to_xyxy(transformed)
    boxes = boxes if boxes.numel() else boxes.reshape(0, 4)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise UserError(f"the transforms returned boxes {tuple(boxes.shape)}; return (G, 4)")
    wrong = ~boxes.isfinite().all(dim=1) | (boxes[:, 2:] < boxes[:, :2] - _ROUNDING).any(dim=1)
    if wrong.any():
        raise UserError(f"the transforms returned a box {boxes[wrong][0].tolist()}; return x1, y1, x2, y2 in pixels")
    return boxes


def _checked(masks: Masks, image: Tensor) -> Masks:
    if masks.size != tuple(image.shape[-2:]):
        sizes = [f"{width} x {height}" for height, width in (image.shape[-2:], masks.size)]
        raise UserError(
            f"the transforms returned an image of {sizes[0]}, but masks of {sizes[1]}; transform both alike"
        )
    return masks


class _Labels(Tensor):
    """Labels that remember their rows in the target, since transforms drop and reorder boxes by indexing.

    Everything else that is computed from them, such as a mask of rows, is a plain tensor.
    """

    __torch_function__ = torch._C._disabled_torch_function_impl  # pyright: ignore[reportAssignmentType]
    rows: Tensor

    @classmethod
    def of(cls, labels: Tensor, rows: Tensor) -> "_Labels":
        """Return the labels of these rows."""
        found = labels.as_subclass(cls)
        found.rows = rows
        return found

    def __getitem__(self, index: Any) -> Tensor:
        kept = self.as_subclass(Tensor)[index]
        return _Labels.of(kept, self.rows[index]) if kept.ndim == 1 else kept

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Labels":
        return _Labels.of(self.clone(), self.rows)


def take_rows(value: Any, rows: Tensor) -> Any:
    """Select rows of a field, keeping its tensor subclass."""
    if isinstance(value, Masks | MaskRows):
        return value[rows]
    taken = value.as_subclass(Tensor)[rows]
    kept = isinstance(value, tv_tensors.TVTensor)
    return tv_tensors.wrap(taken, like=value) if kept else taken  # pyright: ignore[reportCallIssue]
