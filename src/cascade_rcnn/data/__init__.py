"""Datasets: annotation files, images, augmentation and batches for training."""

from cascade_rcnn.config import Category
from cascade_rcnn.data.annotations import Annotations
from cascade_rcnn.data.check import check_images
from cascade_rcnn.data.coco import load_coco, save_coco
from cascade_rcnn.data.load import (
    check_same_categories,
    dataset_splits,
    is_one_split,
    load_annotations,
    training_splits,
)
from cascade_rcnn.data.voc import load_voc
from cascade_rcnn.data.yolo import load_yolo

__all__ = [
    "Annotations",
    "Category",
    "check_images",
    "check_same_categories",
    "dataset_splits",
    "is_one_split",
    "load_annotations",
    "load_coco",
    "load_voc",
    "load_yolo",
    "save_coco",
    "training_splits",
]
