"""Settings that belong to a model's config, and that assigning them to its modules would not change."""

from typing import Any

from torch import nn

from cascade_rcnn.config import INFERENCE
from cascade_rcnn.errors import UserError

_CREATE = "`create_model`"
_LOAD = f"{_CREATE} or `load`"
_CLASSES = f"num_classes to {_CREATE}, and weights to keep those of a trained model"
_TORCHVISIONS = {
    "transform": f"min_size and max_size to {_LOAD}",
    "score_thresh": f"score_threshold to {_LOAD}",
    "nms_thresh": f"nms_iou to {_LOAD}",
    "detections_per_img": f"max_detections to {_LOAD}",
    "box_predictor": _CLASSES,
    "mask_predictor": _CLASSES,
}
_ADVICE = {name: f"{name} to {_LOAD}" for name in INFERENCE} | _TORCHVISIONS


class FixedSettings(nn.Module):
    """A module that refuses to be assigned a setting: Python would add an attribute that nothing reads."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _ADVICE:
            raise UserError(f"assigning {name} to a model has no effect on its detections; give {_ADVICE[name]}")
        super().__setattr__(name, value)
