"""Class names and ids of the datasets used by published checkpoints."""

from collections.abc import Sequence

from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights

from cascade_rcnn.config import Category

VOC = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)


def coco(*, with_gaps: bool = False) -> tuple[Category, ...]:
    """Return COCO's 80 categories or, with the unused ids ("N/A"), the 90 of torchvision's models."""
    names = FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"]
    return tuple(Category(id=k, name=n) for k, n in enumerate(names) if k > 0 and (with_gaps or n != "N/A"))


def named(names: Sequence[str]) -> tuple[Category, ...]:
    """Return categories with these names: COCO's categories if the names are COCO's, else ids from 1."""
    known = coco()
    if [category.name for category in known] == list(names):
        return known
    return tuple(Category(id=k, name=name) for k, name in enumerate(names, start=1))


def of_dataset(dataset: str, number: int) -> tuple[Category, ...] | None:
    """Return the categories of a dataset known by its name, if it has `number` classes, else None."""
    if "coco" in dataset.lower() and number == 80:
        return coco()
    if "voc" in dataset.lower() and number == len(VOC):
        return named(VOC)
    return None
