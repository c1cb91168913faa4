"""Encoded masks in torchvision's transforms: support for its geometric functions without decoding all masks at once.

Flips, crops, padding and plain resizing are exact on the encoded rectangle of each object; the other functions decode a
few objects at a time.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from cascade_rcnn.errors import UserError
from cascade_rcnn.masks import Masks

_PIXELS = 2**26  # decoded at a time


class MaskRows(tv_tensors.TVTensor):
    """The masks of G objects during a transform; as a tensor, their indices (G,)."""

    masks: Masks

    @classmethod
    def of(cls, masks: Masks) -> "MaskRows":
        """Wrap encoded masks."""
        rows = torch.arange(len(masks)).as_subclass(cls)
        rows.masks = masks
        return rows

    def __getitem__(self, index: Any) -> "MaskRows":
        return MaskRows.of(self.masks[torch.as_tensor(index)])


def moves_rows(transform: object) -> bool:
    """Return whether a transform supports `MaskRows` because it only changes masks by torchvision's functions.

    These are torchvision's own transforms, and those with an attribute `moves_mask_rows` that is True.
    """
    if isinstance(transform, v2.Compose | v2.RandomApply | v2.RandomChoice | v2.RandomOrder):
        return all(map(moves_rows, transform.transforms))
    if isinstance(transform, v2.Lambda):
        return not any(isinstance(one, type) and issubclass(MaskRows, one) for one in transform.types)
    of_torchvision = type(transform).__module__.startswith("torchvision.transforms.v2.")
    return (of_torchvision and type(transform) is not v2.ToPureTensor) or getattr(transform, "moves_mask_rows", False)


def to_masks(value: Tensor) -> Masks:
    """Convert masks returned by a transform to `Masks`. Raises UserError unless their shape is (G, H, W)."""
    if isinstance(value, MaskRows):
        return value.masks
    if value.ndim != 3:
        raise UserError(f"the transforms returned masks of shape {tuple(value.shape)}; return (N, H, W)")
    return Masks.encode(value)


def _register(function: Callable[..., Any], move: Callable[..., Masks]) -> None:
    """Register `move`, which takes masks and the function's own arguments, as a kernel of a torchvision function."""

    def kernel(rows: MaskRows, *args: Any, **kwargs: Any) -> MaskRows:
        return MaskRows.of(move(rows.masks, *args, **kwargs))

    functional.register_kernel(function, MaskRows)(kernel)


def _apply_densely(masks: Masks, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Masks:
    """Apply a torchvision function to dense masks, a few at a time."""
    step = max(1, _PIXELS // max(1, masks.size[0] * masks.size[1]))
    parts = [torch.arange(len(masks))[k : k + step] for k in range(0, max(1, len(masks)), step)]
    return Masks.cat([Masks.encode(function(tv_tensors.Mask(masks.dense(rows)), *args, **kwargs)) for rows in parts])


def _resize(masks: Masks, size: Any, interpolation: Any = None, max_size: int | None = None, **_: Any) -> Masks:
    height, width = functional.resize(_corner(masks), size, max_size=max_size).canvas_size  # pyright: ignore
    return masks.resize(height, width)


def _pad(masks: Masks, padding: Any, fill: Any = None, padding_mode: str = "constant") -> Masks:
    if fill or padding_mode != "constant":
        return _apply_densely(masks, functional.pad, padding, fill, padding_mode)
    moved: Any = functional.pad(_corner(masks), padding)
    left, top = moved[0, :2].int().tolist()
    return masks.window(-top, -left, *moved.canvas_size)


def _corner(masks: Masks) -> tv_tensors.BoundingBoxes:
    """Return an empty box in the corner of the image, whose transform shows how size and position change."""
    return tv_tensors.BoundingBoxes(  # pyright: ignore[reportCallIssue]
        torch.zeros(1, 4), format="XYXY", canvas_size=masks.size
    )


_register(functional.horizontal_flip, Masks.hflip)
_register(functional.vertical_flip, Masks.vflip)
_register(functional.crop, Masks.window)
_register(functional.resize, _resize)
_register(functional.pad, _pad)
for _function in (
    functional.affine,
    functional.center_crop,
    functional.elastic,
    functional.perspective,
    functional.resized_crop,
    functional.rotate,
):
    _register(
        _function,
        lambda masks, *args, _function=_function, **kwargs: _apply_densely(masks, _function, *args, **kwargs),
    )


@functional.register_kernel(functional.get_size, MaskRows)
def _get_size(rows: MaskRows) -> list[int]:
    return list(rows.masks.size)
