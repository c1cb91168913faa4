"""Cascade R-CNN for PyTorch: precise bounding boxes with the interface of torchvision's detection models.

Names are imported on first use, so that `cascade-rcnn --help` does not wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cascade_rcnn.api.app import app
    from cascade_rcnn.api.auto import AutoRecipe, auto_recipe
    from cascade_rcnn.api.convert import convert_checkpoint, save_detectron2
    from cascade_rcnn.api.evaluate import evaluate, evaluate_detections
    from cascade_rcnn.api.export import export_model
    from cascade_rcnn.api.look import look
    from cascade_rcnn.api.predict import predict_files
    from cascade_rcnn.api.recipes import find_recipe
    from cascade_rcnn.api.report import compare, report
    from cascade_rcnn.api.split import split
    from cascade_rcnn.api.statistics import target_statistics
    from cascade_rcnn.api.train import TrainingResult, train
    from cascade_rcnn.config import Category, ModelConfig, ModelOptions, StageConfig
    from cascade_rcnn.data.annotations import Annotations
    from cascade_rcnn.data.augmentation.build import build_augmentation, build_transforms
    from cascade_rcnn.data.dataset import Dataset
    from cascade_rcnn.data.items import DetectionData
    from cascade_rcnn.data.load import load_annotations
    from cascade_rcnn.data.shapes import write_shapes
    from cascade_rcnn.engine.interrupt import Interrupted
    from cascade_rcnn.engine.predictor import Predictor
    from cascade_rcnn.engine.training.callbacks import Callback, EpochEnd, StepEnd
    from cascade_rcnn.errors import UserError
    from cascade_rcnn.evaluation.metrics import ClassMetrics, Metrics
    from cascade_rcnn.hub.huggingface import push_to_hub
    from cascade_rcnn.inspection.look import Look
    from cascade_rcnn.models.architectures import list_models
    from cascade_rcnn.models.build import build
    from cascade_rcnn.models.checkpoint import load, save
    from cascade_rcnn.models.create import create_model
    from cascade_rcnn.models.detector import Detector
    from cascade_rcnn.models.trace import Trace, trace
    from cascade_rcnn.passes.combine import PredictOptions
    from cascade_rcnn.recipes import DataConfig, OptimizerConfig, Recipe
    from cascade_rcnn.reporting.files import Report
    from cascade_rcnn.runtime import Runtime

__version__ = "0.1.0"
__all__ = [
    "Annotations",
    "AutoRecipe",
    "Callback",
    "Category",
    "ClassMetrics",
    "DataConfig",
    "Dataset",
    "DetectionData",
    "Detector",
    "EpochEnd",
    "Interrupted",
    "Look",
    "Metrics",
    "ModelConfig",
    "ModelOptions",
    "OptimizerConfig",
    "PredictOptions",
    "Predictor",
    "Recipe",
    "Report",
    "Runtime",
    "StageConfig",
    "StepEnd",
    "Trace",
    "TrainingResult",
    "UserError",
    "app",
    "auto_recipe",
    "build",
    "build_augmentation",
    "build_transforms",
    "compare",
    "convert_checkpoint",
    "create_model",
    "evaluate",
    "evaluate_detections",
    "export_model",
    "find_recipe",
    "list_models",
    "load",
    "load_annotations",
    "look",
    "predict_files",
    "push_to_hub",
    "report",
    "save",
    "save_detectron2",
    "split",
    "target_statistics",
    "trace",
    "train",
    "write_shapes",
]

_HOMES = {
    "Annotations": "data.annotations",
    "AutoRecipe": "api.auto",
    "Callback": "engine.training.callbacks",
    "Category": "config",
    "ClassMetrics": "evaluation.metrics",
    "DataConfig": "recipes",
    "Dataset": "data.dataset",
    "DetectionData": "data.items",
    "Detector": "models.detector",
    "EpochEnd": "engine.training.callbacks",
    "Interrupted": "engine.interrupt",
    "Look": "inspection.look",
    "Metrics": "evaluation.metrics",
    "ModelConfig": "config",
    "ModelOptions": "config",
    "OptimizerConfig": "recipes",
    "PredictOptions": "passes.combine",
    "Predictor": "engine.predictor",
    "Recipe": "recipes",
    "Report": "reporting.files",
    "Runtime": "runtime",
    "StageConfig": "config",
    "StepEnd": "engine.training.callbacks",
    "Trace": "models.trace",
    "TrainingResult": "api.train",
    "UserError": "errors",
    "app": "api.app",
    "auto_recipe": "api.auto",
    "build": "models.build",
    "build_augmentation": "data.augmentation.build",
    "build_transforms": "data.augmentation.build",
    "compare": "api.report",
    "convert_checkpoint": "api.convert",
    "create_model": "models.create",
    "evaluate": "api.evaluate",
    "evaluate_detections": "api.evaluate",
    "export_model": "api.export",
    "find_recipe": "api.recipes",
    "list_models": "models.architectures",
    "load": "models.checkpoint",
    "load_annotations": "data.load",
    "look": "api.look",
    "predict_files": "api.predict",
    "push_to_hub": "hub.huggingface",
    "report": "api.report",
    "save": "models.checkpoint",
    "save_detectron2": "api.convert",
    "split": "api.split",
    "target_statistics": "api.statistics",
    "trace": "models.trace",
    "train": "api.train",
    "write_shapes": "data.shapes",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        try:
            return getattr(import_module(f"cascade_rcnn.{_HOMES[name]}"), name)
        except ModuleNotFoundError as error:
            if not (error.name or "").startswith("cascade_rcnn."):
                raise
            only = "which only runs exported files; uninstall it, then install cascade-rcnn"
            raise ImportError(f"cascade_rcnn.{name} is not in cascade-rcnn-runtime, {only}") from None
    raise AttributeError(f"module 'cascade_rcnn' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
