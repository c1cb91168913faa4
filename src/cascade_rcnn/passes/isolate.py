"""Detection in a batch whose images may fail, for example because a large one exhausts memory."""

from torch import Tensor

from cascade_rcnn.passes.interface import Detect, Found


def detect_each(detect: Detect, images: list[Tensor]) -> list[Found | Exception]:
    """Return the detections in each image (3, H_i, W_i), or its error.

    If the batch fails as a whole, its images are processed one by one.
    """
    if not images:
        return []
    try:
        return [*detect(images)]
    except Exception as error:  # noqa: BLE001  whatever it is, it must not affect the other images
        if len(images) == 1:
            return [error]
    return [found for image in images for found in detect_each(detect, [image])]
