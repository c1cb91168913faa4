"""Geometric augmentations, which transform boxes, masks and areas with the pixels.

They keep all rows of a target: a box outside the image remains, with zero size, until `inside` drops it from every
per-box field.
"""

from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from cascade_rcnn.boxes import to_xyxy
from cascade_rcnn.data.mask_rows import MaskRows

GREY = (124, 116, 104)  # the mean colour of ImageNet: close to 0 after normalisation


class GeometricTransform(v2.Transform):
    """A transform that scales `area` with its box."""

    moves_mask_rows = True

    def forward(self, *inputs: Any) -> Any:
        """Transform an image, or (image, target)."""
        found = super().forward(*inputs)
        if len(inputs) == 2 and isinstance(inputs[1], dict) and "area" in inputs[1]:
            image, target = found
            kept = box_areas(target["boxes"]) / box_areas(inputs[1]["boxes"]).clamp(min=1e-9)
            return image, target | {"area": inputs[1]["area"] * kept.to(inputs[1]["area"].dtype)}
        return found


class Place(GeometricTransform):
    """Resize an image to `resized` (height, width) and place its top left corner at `corner` of a grey canvas.

    `canvas` is (height, width), `corner` (y, x). Parts outside `window` (y1, x1, y2, x2) of the canvas, by default all
    of it, are cut off.
    """

    def __init__(
        self,
        resized: tuple[int, int],
        corner: tuple[int, int],
        canvas: tuple[int, int],
        window: tuple[int, int, int, int] | None = None,
    ) -> None:
        super().__init__()
        self.resized, self.corner, self.canvas, self.window = resized, corner, canvas, window or (0, 0, *canvas)

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Place an image, boxes or masks."""
        return place(inpt, self.resized, self.corner, self.canvas, self.window)


def place(
    inpt: Any,
    resized: tuple[int, int],
    corner: tuple[int, int],
    canvas: tuple[int, int],
    window: tuple[int, int, int, int],
) -> Any:
    """Resize and place an image, boxes or masks as `Place` does; return other inputs unchanged."""
    (height, width), (top, left) = resized, corner
    y1, x1 = max(top, window[0]), max(left, window[1])
    y2, x2 = min(top + height, window[2]), min(left + width, window[3])
    if y1 >= y2 or x1 >= x2:  # it is outside the window
        y1, x1, y2, x2 = window[0], window[1], window[0], window[1]
    changed = functional.resize(inpt, [height, width], antialias=True)
    changed = functional.crop(changed, y1 - top, x1 - left, y2 - y1, x2 - x1)
    fill: Any = 0
    if isinstance(inpt, tv_tensors.Image):
        fill = [value / 255 for value in GREY] if inpt.is_floating_point() else list(GREY)
    return functional.pad(changed, [x1, y1, canvas[1] - x2, canvas[0] - y2], fill=fill)


class Rotate90(GeometricTransform):
    """Rotate by 90, 180 or 270 degrees counterclockwise, equally likely and with `probability` in total."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw the number of quarter turns."""
        return {"turns": int(torch.randint(1, 4, ())) if float(torch.rand(())) < self.probability else 0}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Rotate pixels and boxes; other fields are unchanged."""
        turns = params["turns"]
        if isinstance(inpt, tv_tensors.BoundingBoxes):
            return _turned(inpt, turns)
        if isinstance(inpt, MaskRows):
            return MaskRows.of(inpt.masks.rot90(turns))
        if isinstance(inpt, tv_tensors.Image | tv_tensors.Mask):
            turned = inpt.as_subclass(Tensor).rot90(turns, (-2, -1))
            return tv_tensors.wrap(turned, like=inpt)  # pyright: ignore[reportCallIssue]
        return inpt


def _turned(boxes: tv_tensors.BoundingBoxes, turns: int) -> tv_tensors.BoundingBoxes:
    """Rotate boxes by quarter turns counterclockwise, each from (x, y) in an image of width W to (y, W - x)."""
    height, width = boxes.canvas_size
    x1, y1, x2, y2 = to_xyxy(boxes).unbind(1)
    for _ in range(turns):
        x1, y1, x2, y2 = y1, width - x2, y2, width - x1
        height, width = width, height
    return tv_tensors.BoundingBoxes(  # pyright: ignore[reportCallIssue]
        torch.stack((x1, y1, x2, y2), dim=1), format="XYXY", canvas_size=(height, width)
    )


def box_areas(boxes: Tensor) -> Tensor:
    """Return the areas (G,) of boxes (G, 4), 0 for empty ones."""
    corners = to_xyxy(boxes)
    return (corners[:, 2:] - corners[:, :2]).clamp(min=0).prod(dim=1)
