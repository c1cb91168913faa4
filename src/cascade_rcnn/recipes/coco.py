"""Recipes for COCO with the common 1x schedule."""

from cascade_rcnn.recipes.config import Recipe


def cascade_rcnn_r50() -> Recipe:
    """FPN+ ResNet-50 with the three-stage cascade, COCO, the common 1x schedule.

    cascade-rcnn train cascade_rcnn_r50 --devices 8 --data.train instances_train2017.json --data.val ...
    8 GPUs x 2 images. AP published elsewhere for this schedule: 40.3 (mmdetection); not yet measured here.
    """
    return Recipe(model="cascade_rcnn_resnet50_fpn", output="runs/cascade_rcnn_r50")


def faster_rcnn_r50() -> Recipe:
    """The baseline of `cascade_rcnn_r50`: same data, schedule and head, but one stage.

    cascade-rcnn train faster_rcnn_r50 --devices 8 --data.train instances_train2017.json --data.val ...
    """
    return Recipe(model="faster_rcnn_resnet50_fpn", output="runs/faster_rcnn_r50")
