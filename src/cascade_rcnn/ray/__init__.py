"""Batch inference on Ray Data, for millions of images and any number of machines (extra `ray`).

Names are imported on first use, so that the processes that only read images do without torch and its memory.

>>> from cascade_rcnn.ray import Predict, predict_dataset  # doctest: +SKIP
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cascade_rcnn.ray.job import PredictionSummary, predict_dataset
    from cascade_rcnn.ray.predict import SCHEMA, Predict
    from cascade_rcnn.ray.sources import read_images

__all__ = ["SCHEMA", "Predict", "PredictionSummary", "predict_dataset", "read_images"]

_HOMES = {
    "SCHEMA": "predict",
    "Predict": "predict",
    "PredictionSummary": "job",
    "predict_dataset": "job",
    "read_images": "sources",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"cascade_rcnn.ray.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'cascade_rcnn.ray' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
