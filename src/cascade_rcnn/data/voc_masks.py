"""PASCAL VOC's SegmentationObject: images whose pixel values number the objects of the xml file, starting at 1.

0 is background, and 255 the border around objects, which belongs to none of them.
"""

from pathlib import Path

import numpy as np

from cascade_rcnn import rle
from cascade_rcnn.data.check import size_differs
from cascade_rcnn.data.segmentations import encode
from cascade_rcnn.errors import UserError
from cascade_rcnn.images.decoding import open_image

FOLDER = "SegmentationObject"


def read_outlines(path: Path, number: int, size: tuple[int, int]) -> list[bytes]:
    """Return the run lengths of objects 1 to `number` as JSON, empty for objects without pixels or without a file.

    `size` is the image's height and width. Raises UserError if the file exists but is not such an image.
    """
    if not path.exists():
        return [b""] * number
    with open_image(path, None) as image:
        if image.mode not in ("P", "L"):
            raise UserError(
                f"{path}: pixel values are not object numbers (mode {image.mode}); save it as a palette image"
            )
        if (image.height, image.width) != size:
            raise UserError(size_differs(path, (image.height, image.width), size))
        numbers = np.asarray(image)
    return [_outline(numbers == k) if k < 255 else b"" for k in range(1, number + 1)]


def _outline(mask: np.ndarray) -> bytes:
    return encode(rle.of_mask(mask)) if mask.any() else b""
