"""Batch inference on Ray Data, for millions of images and any number of machines (extra `ray`).

>>> from cascade_rcnn.ray import Predict, predict_dataset  # doctest: +SKIP
"""

from cascade_rcnn.ray.job import PredictionSummary, predict_dataset
from cascade_rcnn.ray.predict import SCHEMA, Predict
from cascade_rcnn.ray.sources import read_images

__all__ = ["SCHEMA", "Predict", "PredictionSummary", "predict_dataset", "read_images"]
