"""Cascade R-CNN for PyTorch: precise boxes, torchvision's detection contract.

Names load on first use, so that `cascade-rcnn --help` does not wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cascade_rcnn.config import Category, ModelConfig, ModelOptions, StageConfig
    from cascade_rcnn.engine.predictor import Predictor
    from cascade_rcnn.errors import UserError
    from cascade_rcnn.models.architectures import list_models
    from cascade_rcnn.models.build import build
    from cascade_rcnn.models.checkpoint import load, save
    from cascade_rcnn.models.create import create_model
    from cascade_rcnn.models.detector import Detector

__version__ = "0.1.0"
__all__ = [
    "Category",
    "Detector",
    "ModelConfig",
    "ModelOptions",
    "Predictor",
    "StageConfig",
    "UserError",
    "build",
    "create_model",
    "list_models",
    "load",
    "save",
]

_HOMES = {
    "Category": "config",
    "Detector": "models.detector",
    "ModelConfig": "config",
    "ModelOptions": "config",
    "Predictor": "engine.predictor",
    "StageConfig": "config",
    "UserError": "errors",
    "build": "models.build",
    "create_model": "models.create",
    "list_models": "models.architectures",
    "load": "models.checkpoint",
    "save": "models.checkpoint",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"cascade_rcnn.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'cascade_rcnn' has no attribute '{name}'")
