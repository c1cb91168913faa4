"""Detection with an exported file, without torch: onnxruntime or OpenVINO, NumPy and Pillow.

from cascade_rcnn.runtime import Runtime
detections = Runtime("model.onnx")("photo.jpg")  # supervision.Detections
"""

from cascade_rcnn.runtime.description import Description
from cascade_rcnn.runtime.runtime import Runtime
from cascade_rcnn.runtime.sessions import SUFFIXES, is_exported

__all__ = ["SUFFIXES", "Description", "Runtime", "is_exported"]
