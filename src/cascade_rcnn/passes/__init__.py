"""One image in several passes: its tiles, or flipped and resized copies of it, whose detections become one list.

Each file wraps a detector in another with the same interface (`interface.Detect`).
"""

from cascade_rcnn.passes.choose import class_thresholds
from cascade_rcnn.passes.combine import PredictOptions, given_options, with_options
from cascade_rcnn.passes.interface import Detect, Found

__all__ = ["Detect", "Found", "PredictOptions", "class_thresholds", "given_options", "with_options"]
