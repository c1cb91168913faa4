"""Test-time augmentation: detection in the image, its mirror image and other scales of both, with the results fused."""

from collections.abc import Sequence

from torch import Tensor

from cascade_rcnn.arguments import check_number
from cascade_rcnn.config import InferenceConfig
from cascade_rcnn.passes.fuse import fuse
from cascade_rcnn.passes.interface import Detect, Found

_SCALES = (0.1, 10.0)


class Augmented:
    """A detector that processes every view of an image in turn and fuses the detections (see `fuse.py`)."""

    def __init__(self, detect: Detect, flip: bool, scales: Sequence[float], config: InferenceConfig) -> None:
        """Wrap `detect`; `flip` adds mirror images, and `scales` further multiples of the model's image size.

        `config` is that of the detector. Raises UserError for a scale out of range.
        """
        for scale in scales:
            check_number("tta_scales", scale, *_SCALES)
        self.detect, self.config = detect, config
        self.views = [(scale, mirror) for scale in (1.0, *scales) for mirror in ((False, True) if flip else (False,))]

    def __call__(self, images: list[Tensor], scale: float = 1.0) -> list[Found]:
        """Detect in all images at once, view by view."""
        views = [self._view(images, scale * factor, mirror) for factor, mirror in self.views]
        return [fuse(list(one), self.config) for one in zip(*views, strict=True)]

    def _view(self, images: list[Tensor], scale: float, mirror: bool) -> list[Found]:
        if not mirror:
            return self.detect(images, scale)
        found = self.detect([image.flip(-1) for image in images], scale)
        return [_mirrored(one, image.shape[-1]) for one, image in zip(found, images, strict=True)]


def _mirrored(found: Found, width: int) -> Found:
    boxes = found["boxes"].clone()
    boxes[:, [0, 2]] = width - boxes[:, [2, 0]]
    masks = {"masks": found["masks"].hflip()} if "masks" in found else {}
    return {**found, "boxes": boxes, **masks}
