"""Test-time augmentation: detections in the image, mirrored, and at other scales are fused."""

from collections.abc import Sequence

from torch import Tensor

from cascade_rcnn.errors import UserError
from cascade_rcnn.passes.fuse import fuse
from cascade_rcnn.passes.interface import Detect, Found

_SCALES = (0.1, 10.0)


class Augmented:
    """Detect in every view, one after another, and fuse the detections (`fuse.py`)."""

    def __init__(self, detect: Detect, flip: bool, scales: Sequence[float], nms_iou: float, most: int) -> None:
        """scales: further scales, as factors of the model's own; most: detections to keep per image."""
        for scale in scales:
            if not _SCALES[0] <= scale <= _SCALES[1]:
                raise UserError(f"tta-scales has {scale:g}; give factors of the model's own size, {_SCALES[0]} to 10")
        self.detect, self.nms_iou, self.most = detect, nms_iou, most
        self.views = [(scale, mirror) for scale in (1.0, *scales) for mirror in ((False, True) if flip else (False,))]

    def __call__(self, images: list[Tensor], scale: float = 1.0) -> list[Found]:
        """Detect in all images at once, view by view."""
        views = [self._view(images, scale * factor, mirror) for factor, mirror in self.views]
        return [fuse(list(one), self.nms_iou, self.most) for one in zip(*views, strict=True)]

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
