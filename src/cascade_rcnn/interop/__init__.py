"""Convert checkpoints from detectron2, mmdetection and torchvision, and to detectron2."""

from cascade_rcnn.interop.convert import convert_checkpoint
from cascade_rcnn.interop.detectron2 import config_for, to_detectron2
from cascade_rcnn.interop.detectron2_settings import WRITTEN

__all__ = ["WRITTEN", "config_for", "convert_checkpoint", "to_detectron2"]
