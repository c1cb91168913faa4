"""Large-scale jitter (Ghiasi et al. 2021): images of a tenth to twice the usual size, on a canvas of constant size.

The image is resized, then cropped at a random position where it exceeds the canvas and padded where it is smaller, as
in the training of ViTDet.
"""

from typing import Any

import torch
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional

from cascade_rcnn.config.augmentation import ScaleJitterConfig
from cascade_rcnn.data.augmentation.geometry import GeometricTransform, place


class LargeScaleJitter(GeometricTransform):
    """Resize the image to fit a square of `size` pixels times a random factor from `scale`; crop or pad it to `size`.

    Boxes and masks follow the pixels, and `area` follows its box. Boxes are clipped to the canvas; those outside keep
    their row with zero size, and `Dataset` drops them from every field.

    >>> jitter = LargeScaleJitter((0.1, 2.0), size=1024)
    >>> image, target = Dataset(load_annotations("shapes/train.json"), jitter)[0]
    >>> image.shape
    torch.Size([3, 1024, 1024])
    """

    def __init__(self, scale: tuple[float, float] = (0.1, 2.0), size: int = 1024) -> None:
        """Raise UserError for an invalid range or canvas size."""
        super().__init__()
        ScaleJitterConfig(scale=scale, size=size)  # checks them
        self.scale, self.size = scale, size

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw the size of the image and the corner of the crop."""
        height, width = functional.get_size(next(x for x in flat_inputs if isinstance(x, tv_tensors.Image)))
        low, high = self.scale
        factor = self.size / max(height, width) * (low + (high - low) * float(torch.rand(())))
        resized = [max(1, round(length * factor)) for length in (height, width)]
        places = torch.rand(2).tolist()
        corner = [round(max(0, length - self.size) * place) for length, place in zip(resized, places, strict=True)]
        return {"resized": resized, "corner": corner}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Resize, crop and pad an image, boxes or masks."""
        top, left = params["corner"]
        whole = (0, 0, self.size, self.size)
        return place(inpt, params["resized"], (-top, -left), (self.size, self.size), whole)
