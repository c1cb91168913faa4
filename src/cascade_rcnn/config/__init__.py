"""Model configs: frozen data, with one type for each implementation of an interface, and the presets."""

from msgspec.structs import replace

from cascade_rcnn.config.backbones import BackboneConfig, ResNetConfig, VGGConfig
from cascade_rcnn.config.checks import Config
from cascade_rcnn.config.heads import (
    BoxHeadConfig,
    ConvFCHeadConfig,
    RFCNHeadConfig,
    RoIAlignConfig,
    SamplingConfig,
    SemanticsConfig,
    StageConfig,
    Std,
)
from cascade_rcnn.config.layers import NormConfig
from cascade_rcnn.config.losses import BoxLossConfig, IoULossConfig, SmoothL1Config
from cascade_rcnn.config.model import INFERENCE, Category, InferenceConfig, ModelConfig, PreprocessConfig
from cascade_rcnn.config.options import ModelOptions
from cascade_rcnn.config.pyramids import FPNConfig, PyramidConfig, SingleScaleConfig
from cascade_rcnn.config.rpn import AnchorConfig, RPNConfig

__all__ = [
    "INFERENCE",
    "AnchorConfig",
    "BackboneConfig",
    "BoxHeadConfig",
    "BoxLossConfig",
    "Category",
    "Config",
    "ConvFCHeadConfig",
    "FPNConfig",
    "InferenceConfig",
    "IoULossConfig",
    "ModelConfig",
    "ModelOptions",
    "NormConfig",
    "PreprocessConfig",
    "PyramidConfig",
    "RFCNHeadConfig",
    "RPNConfig",
    "ResNetConfig",
    "RoIAlignConfig",
    "SamplingConfig",
    "SemanticsConfig",
    "SingleScaleConfig",
    "SmoothL1Config",
    "StageConfig",
    "Std",
    "VGGConfig",
    "replace",
]
