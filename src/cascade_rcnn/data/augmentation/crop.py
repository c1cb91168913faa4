"""Crops that contain objects."""

from typing import Any

import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from cascade_rcnn.data.augmentation.geometry import GeometricTransform

_LEAST = 8  # minimum side of crops in pixels


class IoUCrop(GeometricTransform, v2.RandomIoUCrop):
    """Torchvision's `RandomIoUCrop`, applied with `probability`; images without objects are left unchanged.

    What is left of a crowd stays in the target, also if its centre is outside, since it is still to be ignored.
    """

    def __init__(self, probability: float, smallest: float) -> None:
        v2.RandomIoUCrop.__init__(self, min_scale=smallest)
        self.probability = probability

    def forward(self, *inputs: Any) -> Any:
        """Crop an image and its target."""
        image, target = inputs
        crop = self.make_params([image, target["boxes"]])
        if crop:
            crop["is_within_crop_area"] |= target["iscrowd"] > 0
        return _Crop(crop)(image, target)

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Return the parameters of the crop, none to keep the whole image."""
        boxes = v2._utils.get_bounding_boxes(flat_inputs)
        height, width = functional.get_size(boxes)
        if float(torch.rand(())) >= self.probability or not len(boxes) or min(height, width) * self.min_scale < _LEAST:
            return {}
        return super().make_params(flat_inputs)


class _Crop(GeometricTransform, v2.RandomIoUCrop):
    """A crop with parameters that have been drawn."""

    def __init__(self, params: dict[str, Any]) -> None:
        v2.RandomIoUCrop.__init__(self)
        self.params = params

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Return these parameters."""
        return self.params
