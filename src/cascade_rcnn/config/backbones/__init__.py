"""Configs of backbones: one type and file per family."""

from typing import TypeAlias

from cascade_rcnn.config.backbones.base import AnyBackboneConfig
from cascade_rcnn.config.backbones.convnext import CONVNEXTS, ConvNeXtConfig
from cascade_rcnn.config.backbones.mvit import MVITS, MViTConfig
from cascade_rcnn.config.backbones.own import OwnBackboneConfig
from cascade_rcnn.config.backbones.regnet import RegNetConfig
from cascade_rcnn.config.backbones.res2net import Res2NetConfig
from cascade_rcnn.config.backbones.resnet import ContextConfig, DeformableConfig, ResNetConfig
from cascade_rcnn.config.backbones.swin import SWINS, SwinConfig
from cascade_rcnn.config.backbones.timm import TimmConfig
from cascade_rcnn.config.backbones.vgg import VGGConfig
from cascade_rcnn.config.backbones.vit import ViTConfig

BackboneConfig: TypeAlias = (
    RegNetConfig
    | Res2NetConfig
    | ResNetConfig
    | VGGConfig
    | ViTConfig
    | MViTConfig
    | SwinConfig
    | ConvNeXtConfig
    | TimmConfig
    | OwnBackboneConfig
)

__all__ = [
    "CONVNEXTS",
    "MVITS",
    "SWINS",
    "AnyBackboneConfig",
    "BackboneConfig",
    "ContextConfig",
    "ConvNeXtConfig",
    "DeformableConfig",
    "MViTConfig",
    "OwnBackboneConfig",
    "RegNetConfig",
    "Res2NetConfig",
    "ResNetConfig",
    "SwinConfig",
    "TimmConfig",
    "VGGConfig",
    "ViTConfig",
]
