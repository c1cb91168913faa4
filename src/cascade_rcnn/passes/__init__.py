"""Several passes over an image, in tiles or flipped and resized copies, with their detections merged.

Each file wraps a detector in another with the same interface (`interface.Detect`).
"""

from cascade_rcnn.passes.choose import class_thresholds
from cascade_rcnn.passes.combine import PredictOptions, given_options, with_options
from cascade_rcnn.passes.interface import Detect, Found

__all__ = ["Detect", "Found", "PredictOptions", "class_thresholds", "given_options", "with_options"]
