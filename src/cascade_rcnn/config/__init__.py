"""Model configs and presets: frozen data, with one config type per backbone, head, loss and so on."""

from msgspec.structs import replace

from cascade_rcnn.config.backbones import (
    CONVNEXTS,
    MVITS,
    SWINS,
    BackboneConfig,
    ContextConfig,
    ConvNeXtConfig,
    DeformableConfig,
    MViTConfig,
    OwnBackboneConfig,
    RegNetConfig,
    Res2NetConfig,
    ResNetConfig,
    SwinConfig,
    TimmConfig,
    VGGConfig,
    ViTConfig,
)
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
from cascade_rcnn.config.model import (
    INFERENCE,
    Category,
    InferenceConfig,
    InferenceOptions,
    ModelConfig,
    PreprocessConfig,
)
from cascade_rcnn.config.options import ModelOptions
from cascade_rcnn.config.pyramids import FPNConfig, PyramidConfig, SimplePyramidConfig, SingleScaleConfig
from cascade_rcnn.config.rpn import AnchorConfig, RPNConfig
from cascade_rcnn.config.tasks import MaskConfig, RoITaskConfig

__all__ = [
    "CONVNEXTS",
    "INFERENCE",
    "MVITS",
    "SWINS",
    "AnchorConfig",
    "BackboneConfig",
    "BoxHeadConfig",
    "BoxLossConfig",
    "Category",
    "Config",
    "ContextConfig",
    "ConvFCHeadConfig",
    "ConvNeXtConfig",
    "DeformableConfig",
    "FPNConfig",
    "InferenceConfig",
    "InferenceOptions",
    "IoULossConfig",
    "MViTConfig",
    "MaskConfig",
    "ModelConfig",
    "ModelOptions",
    "NormConfig",
    "OwnBackboneConfig",
    "PreprocessConfig",
    "PyramidConfig",
    "RFCNHeadConfig",
    "RPNConfig",
    "RegNetConfig",
    "Res2NetConfig",
    "ResNetConfig",
    "RoIAlignConfig",
    "RoITaskConfig",
    "SamplingConfig",
    "SemanticsConfig",
    "SimplePyramidConfig",
    "SingleScaleConfig",
    "SmoothL1Config",
    "StageConfig",
    "Std",
    "SwinConfig",
    "TimmConfig",
    "VGGConfig",
    "ViTConfig",
    "replace",
]
