"""Large-scale jitter (Ghiasi et al. 2021): images of a tenth to twice the usual size, on a canvas that stays the same.

Resize, then crop what is larger than the canvas at a random place and pad what is smaller, as ViTDet was trained.
"""

from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from cascade_rcnn.data.targets import to_xyxy
from cascade_rcnn.errors import UserError

_GREY = [124, 116, 104]  # the mean colour of ImageNet: nearly nothing, once the model has normalised it


class LargeScaleJitter(v2.Transform):
    """Fit the image into a square of `size` pixels, times a factor drawn from `scale`, and cut or pad it to `size`.

    Boxes and masks follow the pixels, `area` follows its box. Boxes are clipped to the canvas; those that lie outside
    keep their row, of no size, which `Dataset` drops from every field.

    >>> jitter = LargeScaleJitter((0.1, 2.0), size=1024)
    >>> image, target = Dataset(load_annotations("shapes/train.json"), jitter)[0]
    >>> image.shape
    torch.Size([3, 1024, 1024])
    """

    moves_mask_rows = True

    def __init__(self, scale: tuple[float, float] = (0.1, 2.0), size: int = 1024) -> None:
        """Raises UserError for a range that is none, or a canvas without pixels."""
        super().__init__()
        check_jitter(scale, size)
        self.scale, self.size = scale, size

    def forward(self, *inputs: Any) -> Any:
        """An image, or (image, target)."""
        found = super().forward(*inputs)
        if len(inputs) == 2 and isinstance(inputs[1], dict) and "area" in inputs[1]:
            image, target = found
            kept = _areas(target["boxes"]) / _areas(inputs[1]["boxes"]).clamp(min=1e-9)
            return image, target | {"area": inputs[1]["area"] * kept.to(inputs[1]["area"].dtype)}
        return found

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """The size to resize to, and the corner that is cut out."""
        height, width = functional.get_size(next(x for x in flat_inputs if isinstance(x, tv_tensors.Image)))
        low, high = self.scale
        factor = self.size / max(height, width) * (low + (high - low) * float(torch.rand(())))
        resized = [max(1, round(length * factor)) for length in (height, width)]
        places = torch.rand(2).tolist()
        corner = [round(max(0, length - self.size) * place) for length, place in zip(resized, places, strict=True)]
        return {"resized": resized, "corner": corner}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Torchvision's own steps, which know images, boxes and masks."""
        (height, width), (top, left) = params["resized"], params["corner"]
        cut = [min(height, self.size), min(width, self.size)]
        changed = functional.resize(inpt, [height, width], antialias=True)
        changed = functional.crop(changed, top, left, *cut)
        fill: Any = _GREY if isinstance(inpt, tv_tensors.Image) else 0
        return functional.pad(changed, [0, 0, self.size - cut[1], self.size - cut[0]], fill=fill)


def check_jitter(scale: tuple[float, float], size: int) -> None:
    """Raise UserError for a range that is none, or a canvas without pixels."""
    low, high = scale
    if not 0 < low <= high <= 10:
        raise UserError(f"jitter is {low} to {high}; give the smallest and the largest factor, such as 0.1 2.0")
    if not 32 <= size <= 8192:
        raise UserError(f"jitter_size is {size}; give the canvas's side in pixels, 32 to 8192")


def _areas(boxes: Tensor) -> Tensor:
    corners = to_xyxy(boxes)
    return (corners[:, 2:] - corners[:, :2]).clamp(min=0).prod(dim=1)
