"""COCO metrics of detections, and files of detections."""

from cascade_rcnn.evaluation.coco import evaluate_boxes
from cascade_rcnn.evaluation.detections import load_detections, save_detections
from cascade_rcnn.evaluation.metrics import ClassMetrics, Metrics

__all__ = ["ClassMetrics", "Metrics", "evaluate_boxes", "load_detections", "save_detections"]
