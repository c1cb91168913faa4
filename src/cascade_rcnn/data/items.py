"""Conversion of the items of third-party datasets to images and targets."""

from collections.abc import Mapping
from numbers import Integral
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from cascade_rcnn.arguments import shown
from cascade_rcnn.boxes import to_xyxy
from cascade_rcnn.data.targets import Sample, Target
from cascade_rcnn.errors import UserError, reason
from cascade_rcnn.images.tensors import to_tensor
from cascade_rcnn.masks import Masks

_WRAP = "use torchvision.datasets.wrap_dataset_for_transforms_v2(dataset) for torchvision's own datasets"


@runtime_checkable
class DetectionData(Protocol):
    """A dataset as used to train torchvision's detectors: `data[i]` is (image, target).

    The image is a PIL image, an array (H, W, 3) or a tensor (3, H, W). The target is a dict with boxes (G, 4), XYXY in
    pixels or `tv_tensors.BoundingBoxes` of any format, and labels (G,), which start at 1; optionally iscrowd (G,),
    area (G,), image_id, masks (G, H, W) or `Masks`, and any tensor with a row per box. It may be empty for images
    without objects.

    >>> isinstance([(torch.zeros(3, 8, 8), {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0)})], DetectionData)
    True
    """

    def __len__(self) -> int:
        """Return the number of images."""
        ...

    def __getitem__(self, index: int, /) -> Any:
        """Return the image and target at `index`."""
        ...


def name_of(source: DetectionData) -> str:
    """Return the name of a dataset for messages."""
    return type(source).__name__


def read_item(source: DetectionData, i: int) -> Sample:
    """Read item i of a dataset: its image (3, H, W) and target.

    The target has boxes (G, 4) XYXY, labels (G,) as in the dataset, area (G,), which is NaN if the item has none,
    iscrowd (G,), and every other tensor of the item. Raises UserError naming the item if it does not conform to
    `DetectionData`; the dataset's own exceptions get a note that names it.
    """
    name = f"{name_of(source)}, item {i}"
    try:
        item = source[i]
    except Exception as error:
        error.add_note(f"(in {name})")
        raise
    if not (isinstance(item, tuple | list) and len(item) == 2 and isinstance(item[1], Mapping)):
        raise UserError(f"{name}: is not an (image, target) pair with a dict of boxes and labels; {_WRAP}")
    image, given = item
    if not given.keys() & {"boxes", "labels"}:  # torchvision's convention for images without objects
        given = {**given, "boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    if missing := {"boxes", "labels"} - given.keys():
        raise UserError(f"{name}: its target has {', '.join(map(str, given))}, but no {missing.pop()}; {_WRAP}")
    try:
        pixels = to_tensor(image).as_subclass(Tensor).detach().cpu()
        pixels = pixels if pixels.dtype == torch.uint8 else pixels.float()
        return pixels, _target(given, (pixels.shape[1], pixels.shape[2]))
    except (UserError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"{name}: {reason(error)}") from None


def _target(given: Mapping[Any, Any], size: tuple[int, int]) -> Target:
    boxes, labels = to_xyxy(_numbers(given, "boxes")).detach().cpu(), _numbers(given, "labels").detach().cpu()
    if (size_of_boxes := getattr(given["boxes"], "canvas_size", size)) != size:
        sizes = [f"{width} x {height}" for height, width in (size_of_boxes, size)]
        raise UserError(f"its boxes are those of an image of {sizes[0]} pixels, but the image has {sizes[1]}")
    if not boxes.numel() and not labels.numel():
        boxes, labels = boxes.reshape(0, 4), labels.reshape(0).long()
    if boxes.shape != (len(boxes), 4) or labels.shape != (len(boxes),) or labels.is_floating_point():
        shapes = f"boxes {tuple(boxes.shape)} and labels {tuple(labels.shape)} of {labels.dtype}"
        raise UserError(f"its target has {shapes}; give (G, 4) and (G,) of torch.int64")
    if not boxes.isfinite().all():
        raise UserError(f"a box is {boxes[~boxes.isfinite().all(1)][0].tolist()}; give four finite numbers")
    if (turned := (boxes[:, 2:] < boxes[:, :2]).any(1)).any():
        raise UserError(f"a box is {boxes[turned][0].tolist()}, with x2 < x1 or y2 < y1; give XYXY, not XYWH")
    others = {str(name): value.detach().cpu() for name, value in given.items() if isinstance(value, Tensor)}
    if isinstance(identity := given.get("image_id"), Integral):
        others["image_id"] = torch.tensor(int(identity))
    target: Target = others | {
        "boxes": boxes,
        "labels": labels.as_subclass(Tensor).long(),
        "area": _column(given, "area", boxes.new_full((len(boxes),), torch.nan)),
        "iscrowd": _column(given, "iscrowd", torch.zeros(len(boxes), dtype=torch.int64)),
    }
    if "masks" in given:
        target["masks"] = _masks(given["masks"], len(boxes), size)
    return target


def _numbers(given: Mapping[Any, Any], name: str) -> Tensor:
    try:
        return torch.as_tensor(given[name])
    except (TypeError, ValueError, RuntimeError):  # names of classes, for example
        raise UserError(f"its target has {name} {shown(given[name])}; give numbers") from None


def _masks(given: Any, number: int, size: tuple[int, int]) -> Masks:
    """Encode masks (G, H, W), which must have the size of the image."""
    if isinstance(given, Masks):
        shape, masks = (len(given), *given.size), given
    else:
        dense = torch.as_tensor(given)
        shape = (0, *size) if number == 0 and not dense.numel() else tuple(dense.shape)
        masks = Masks.encode(dense.reshape(shape)) if len(shape) == 3 else None
    if masks is None or shape != (number, *size):
        raise UserError(f"its target has masks {shape}; give one per box, of the image's size: {(number, *size)}")
    return masks


def _column(given: Mapping[Any, Any], name: str, default: Tensor) -> Tensor:
    """Return a field with one number per box, or the default if the target lacks it."""
    if name not in given:
        return default
    column = _numbers(given, name).detach().cpu()
    if column.shape != default.shape:
        raise UserError(f"its target has {name} {tuple(column.shape)}; give one per box: {tuple(default.shape)}")
    return column.as_subclass(Tensor).to(default.dtype)
