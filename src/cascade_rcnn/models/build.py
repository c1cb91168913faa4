"""Build a detector from its config. A new backbone, head, loss or pyramid is one line in one of the tables."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import nn

from cascade_rcnn.config import (
    BackboneConfig,
    ConvFCHeadConfig,
    ConvNeXtConfig,
    FPNConfig,
    IoULossConfig,
    MaskConfig,
    ModelConfig,
    MViTConfig,
    OwnBackboneConfig,
    RegNetConfig,
    Res2NetConfig,
    ResNetConfig,
    RFCNHeadConfig,
    SimplePyramidConfig,
    SingleScaleConfig,
    SmoothL1Config,
    SwinConfig,
    TimmConfig,
    VGGConfig,
    ViTConfig,
)
from cascade_rcnn.errors import UserError
from cascade_rcnn.heads.cascade import Cascade, LayOut
from cascade_rcnn.heads.conv_fc import ConvFCHead
from cascade_rcnn.heads.integral import IntegralLoss
from cascade_rcnn.heads.iterative import iterative_bbox
from cascade_rcnn.heads.rfcn import RFCNHead
from cascade_rcnn.layers.convolution import shield
from cascade_rcnn.layers.deformable import DeformableConv2d
from cascade_rcnn.losses import IoULoss, Sigmoid, SmoothL1Loss, Softmax
from cascade_rcnn.models.backbones.convnext import ConvNeXt
from cascade_rcnn.models.backbones.mvit import MViT
from cascade_rcnn.models.backbones.promise import check_promise
from cascade_rcnn.models.backbones.regnet import RegNet
from cascade_rcnn.models.backbones.res2net import Res2Net
from cascade_rcnn.models.backbones.resnet import ResNet
from cascade_rcnn.models.backbones.swin import Swin
from cascade_rcnn.models.backbones.timm import Timm
from cascade_rcnn.models.backbones.vgg import VGG
from cascade_rcnn.models.backbones.vit import ViT
from cascade_rcnn.models.detector import Detector
from cascade_rcnn.models.fpn import FeaturePyramid, SingleScale
from cascade_rcnn.models.preprocess import Preprocess
from cascade_rcnn.models.roi_align import PyramidRoIAlign
from cascade_rcnn.models.rpn import RegionProposalNetwork
from cascade_rcnn.models.simple_pyramid import SimplePyramid
from cascade_rcnn.protocols import Backbone, Classification, RoITask
from cascade_rcnn.tasks.masks import MaskTask

Pyramid: TypeAlias = FeaturePyramid | SimplePyramid | SingleScale
HeadMaker: TypeAlias = Callable[..., nn.Module]  # makes one head, with `classifiers` parallel classifiers


def _fpn(config: ModelConfig, channels: Sequence[int], strides: Sequence[int]) -> FeaturePyramid:
    assert isinstance(config.pyramid, FPNConfig)
    levels = max(len(strides), len(config.rpn.anchors.sizes))
    return FeaturePyramid(channels, strides, config.pyramid, levels)


def _simple(config: ModelConfig, channels: Sequence[int], strides: Sequence[int]) -> SimplePyramid:
    assert isinstance(config.pyramid, SimplePyramidConfig)
    return SimplePyramid(channels[-1], strides[-1], config.pyramid, len(config.rpn.anchors.sizes))


def _single_scale(config: ModelConfig, channels: Sequence[int], strides: Sequence[int]) -> SingleScale:
    return SingleScale(channels, strides)


def _conv_fc(config: ModelConfig, pyramid: Pyramid) -> tuple[HeadMaker, LayOut]:
    pool = PyramidRoIAlign(config.roi_align, pyramid.strides[: pyramid.pooled])  # shared: it has no weights
    bins = config.roi_align.resolution**2
    assert isinstance(config.box_head, ConvFCHeadConfig)
    return partial(ConvFCHead, pool, pyramid.channels[-1], bins, config.num_classes, config.box_head), pool.table


def _rfcn(config: ModelConfig, pyramid: Pyramid) -> tuple[HeadMaker, LayOut]:
    pool = PyramidRoIAlign(config.roi_align, pyramid.strides[-1:], position_sensitive=True)
    bins = config.roi_align.resolution**2
    assert isinstance(config.box_head, RFCNHeadConfig)
    return partial(RFCNHead, pool, pyramid.channels[-1], bins, config.num_classes, config.box_head), list


def _masks(task: MaskConfig, config: ModelConfig, pyramid: Pyramid) -> RoITask:
    pool = PyramidRoIAlign(task.roi_align, pyramid.strides[: pyramid.pooled])
    return MaskTask(pool, pyramid.channels[-1], config.num_classes, task)


# The builder for each type of config. Backbones and box losses take only the config.
BACKBONES: dict[type, Callable[[Any], Any]] = {
    ConvNeXtConfig: ConvNeXt,
    MViTConfig: MViT,
    RegNetConfig: RegNet,
    Res2NetConfig: Res2Net,
    ResNetConfig: ResNet,
    SwinConfig: Swin,
    TimmConfig: Timm,
    VGGConfig: VGG,
    ViTConfig: ViT,
}
PYRAMIDS: dict[type, Callable[..., Pyramid]] = {
    FPNConfig: _fpn,
    SimplePyramidConfig: _simple,
    SingleScaleConfig: _single_scale,
}
BOX_HEADS: dict[type, Callable[[ModelConfig, Pyramid], tuple[HeadMaker, LayOut]]] = {
    ConvFCHeadConfig: _conv_fc,
    RFCNHeadConfig: _rfcn,
}
TASKS: dict[type, Callable[[Any, ModelConfig, Pyramid], RoITask]] = {MaskConfig: _masks}
BOX_LOSSES: dict[type, Callable[[Any], Any]] = {SmoothL1Config: SmoothL1Loss, IoULossConfig: IoULoss}
CLASSIFICATIONS: dict[str, Callable[[], Classification]] = {"softmax": Softmax, "sigmoid": Sigmoid}


def build(config: ModelConfig, own: Backbone | None = None) -> Detector:
    """Build a detector from its config, with random weights, in channels_last memory (a deformable backbone in NCHW).

    `own` is the user's backbone module, if the config asks for one; it keeps its weights.

    >>> config = load("starter").config
    >>> build(config).class_names
    ['person']
    """
    backbone = build_backbone(config.backbone, own)
    shield(backbone)
    pyramid = PYRAMIDS[type(config.pyramid)](config, backbone.channels, backbone.strides)
    divisor = config.preprocess.divisor or max(*backbone.strides, pyramid.strides[pyramid.pooled - 1])
    rpn = RegionProposalNetwork(
        pyramid.channels[0], pyramid.strides, config.rpn, _box_loss(config.rpn.box_loss), config.semantics, divisor
    )
    roi_heads = _roi_heads(config, pyramid)
    tasks: list[Any] = [TASKS[type(task)](task, config, pyramid) for task in config.tasks]
    preprocess = Preprocess(config.preprocess, divisor)
    detector = Detector(config, preprocess, backbone, pyramid, rpn, roi_heads, tasks)
    detector.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if any(isinstance(layer, DeformableConv2d) for layer in backbone.modules()):
        backbone.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return detector


def build_backbone(config: BackboneConfig, own: Backbone | None = None) -> Any:
    """Build a backbone from its config, with its first layers frozen as configured."""
    backbone = _checked(config, own) if isinstance(config, OwnBackboneConfig) else BACKBONES[type(config)](config)
    if config.frozen_stages > 0:
        for layer in layers(backbone, config)[: config.frozen_stages]:
            layer.requires_grad_(False)
    return backbone


def _checked(config: OwnBackboneConfig, own: Any) -> Any:
    if own is None:
        raise UserError("this model was built with your own backbone module; pass it: load(path, backbone=module)")
    check_promise(own, config.label)
    found = (tuple(own.channels), tuple(own.strides))
    if found != (config.channels, config.strides):
        raise UserError(
            f"{config.label}: its channels and strides are {found[0]} and {found[1]}, but the model was built with "
            f"{config.channels} and {config.strides}"
        )
    return own


def layers(backbone: Any, config: BackboneConfig) -> Sequence[nn.Module]:
    """Return the layers of a backbone.

    Raises UserError if it has no `layers()`, or fewer than are to be frozen, or if they lack a parameter.
    """
    if not hasattr(backbone, "layers"):
        raise UserError(f"{config.label}: freezing needs a method layers(), which it lacks; leave out trainable_layers")
    found = backbone.layers()
    if config.frozen_stages > len(found):
        number = len(found)
        raise UserError(f"frozen_stages={config.frozen_stages}: {config.label} has {number} layers; give 0 to {number}")
    held = {id(parameter) for layer in found for parameter in layer.parameters()}
    if left := [name for name, parameter in backbone.named_parameters() if id(parameter) not in held]:
        raise UserError(f"{config.label}: its layers() lack {left[0]}; return modules that contain all parameters")
    return found


def _box_loss(config: Any) -> Any:
    return BOX_LOSSES[type(config)](config)


def _roi_heads(config: ModelConfig, pyramid: Pyramid) -> Cascade:
    """Build one of the architectures of Figure 3: the cascade (a, d), iterative bbox (b) or the integral loss (c)."""
    head, lay_out = BOX_HEADS[type(config.box_head)](config, pyramid)
    classification = CLASSIFICATIONS[config.classification]()
    common = (_box_loss(config.box_loss), config.semantics, config.sampling, config.inference, lay_out, classification)
    if config.method == "iterative":
        return iterative_bbox(head(), config.stages[0], len(config.stages), *common)
    if config.method == "integral":
        return IntegralLoss(head(classifiers=len(config.stages)), config.stages, *common)
    return Cascade([head() for _ in config.stages], config.stages, *common)
