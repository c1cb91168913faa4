"""Crops that contain objects."""

from typing import Any

import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from cascade_rcnn.data.augmentation.geometry import GeometricTransform

_LEAST = 8  # minimum side of crops in pixels


class IoUCrop(GeometricTransform, v2.RandomIoUCrop):
    """Torchvision's `RandomIoUCrop`, applied with `probability`; images without objects are left unchanged."""

    def __init__(self, probability: float, smallest: float) -> None:
        v2.RandomIoUCrop.__init__(self, min_scale=smallest)
        self.probability = probability

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Return the parameters of the crop, none to keep the whole image."""
        boxes = v2._utils.get_bounding_boxes(flat_inputs)
        height, width = functional.get_size(boxes)
        if float(torch.rand(())) >= self.probability or not len(boxes) or min(height, width) * self.min_scale < _LEAST:
            return {}
        return super().make_params(flat_inputs)
