"""Recipes for COCO with the common 1x schedule."""

from cascade_rcnn.recipes.config import Recipe


def cascade_rcnn_r50() -> Recipe:
    """Cascade R-CNN ResNet-50 FPN on COCO with the common 1x schedule.

    cascade-rcnn train cascade_rcnn_r50 --devices 8 --data.train instances_train2017.json --data.val ...
    8 GPUs x 2 images. mmdetection publishes AP 40.3 for this schedule; not yet measured here.
    """
    return Recipe(model="cascade_rcnn_resnet50_fpn", output="runs/cascade_rcnn_r50")


def faster_rcnn_r50() -> Recipe:
    """The Faster R-CNN baseline of `cascade_rcnn_r50`: same data, schedule and head, but one stage.

    cascade-rcnn train faster_rcnn_r50 --devices 8 --data.train instances_train2017.json --data.val ...
    """
    return Recipe(model="faster_rcnn_resnet50_fpn", output="runs/faster_rcnn_r50")
