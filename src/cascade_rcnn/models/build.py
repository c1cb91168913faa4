"""The only composer: a config -> a detector. A new inhabitant of a seam is one line in one of the tables."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import nn

from cascade_rcnn.config import (
    BackboneConfig,
    ConvFCHeadConfig,
    FPNConfig,
    IoULossConfig,
    ModelConfig,
    ResNetConfig,
    RFCNHeadConfig,
    SingleScaleConfig,
    SmoothL1Config,
    VGGConfig,
)
from cascade_rcnn.heads.cascade import Cascade, LayOut
from cascade_rcnn.heads.conv_fc import ConvFCHead
from cascade_rcnn.heads.integral import IntegralLoss
from cascade_rcnn.heads.iterative import iterative_bbox
from cascade_rcnn.heads.rfcn import RFCNHead
from cascade_rcnn.losses import IoULoss, SmoothL1Loss
from cascade_rcnn.models.backbones.resnet import ResNet
from cascade_rcnn.models.backbones.vgg import VGG
from cascade_rcnn.models.detector import Detector
from cascade_rcnn.models.fpn import FeaturePyramid, SingleScale
from cascade_rcnn.models.preprocess import Preprocess
from cascade_rcnn.models.roi_align import PyramidRoIAlign
from cascade_rcnn.models.rpn import RegionProposalNetwork

Pyramid: TypeAlias = FeaturePyramid | SingleScale
HeadMaker: TypeAlias = Callable[..., nn.Module]  # of one head; `classifiers`: how many it has side by side


def _fpn(config: ModelConfig, channels: Sequence[int], strides: Sequence[int]) -> FeaturePyramid:
    assert isinstance(config.pyramid, FPNConfig)
    levels = max(len(strides), len(config.rpn.anchors.sizes))
    return FeaturePyramid(channels, strides, config.pyramid, levels)


def _single_scale(config: ModelConfig, channels: Sequence[int], strides: Sequence[int]) -> SingleScale:
    return SingleScale(channels, strides)


def _conv_fc(config: ModelConfig, pyramid: Pyramid) -> tuple[HeadMaker, LayOut]:
    pool = PyramidRoIAlign(config.roi_align, pyramid.strides[: pyramid.pooled])  # it holds no weights
    bins = config.roi_align.resolution**2
    assert isinstance(config.box_head, ConvFCHeadConfig)
    return partial(ConvFCHead, pool, pyramid.channels[-1], bins, config.num_classes, config.box_head), pool.table


def _rfcn(config: ModelConfig, pyramid: Pyramid) -> tuple[HeadMaker, LayOut]:
    pool = PyramidRoIAlign(config.roi_align, pyramid.strides[-1:], position_sensitive=True)
    bins = config.roi_align.resolution**2
    assert isinstance(config.box_head, RFCNHeadConfig)
    return partial(RFCNHead, pool, pyramid.channels[-1], bins, config.num_classes, config.box_head), list


# A config's type -> what builds it. Backbones and box losses take the config alone.
BACKBONES: dict[type, Callable[[Any], Any]] = {ResNetConfig: ResNet, VGGConfig: VGG}
PYRAMIDS: dict[type, Callable[..., Pyramid]] = {FPNConfig: _fpn, SingleScaleConfig: _single_scale}
BOX_HEADS: dict[type, Callable[[ModelConfig, Pyramid], tuple[HeadMaker, LayOut]]] = {
    ConvFCHeadConfig: _conv_fc,
    RFCNHeadConfig: _rfcn,
}
BOX_LOSSES: dict[type, Callable[[Any], Any]] = {SmoothL1Config: SmoothL1Loss, IoULossConfig: IoULoss}


def build(config: ModelConfig) -> Detector:
    """The detector of a config, with random weights, in channels_last memory.

    >>> config = load("starter").config
    >>> build(config).class_names
    ['person']
    """
    backbone = build_backbone(config.backbone)
    pyramid = PYRAMIDS[type(config.pyramid)](config, backbone.channels, backbone.strides)
    divisor = config.preprocess.divisor or max(backbone.strides)
    rpn = RegionProposalNetwork(
        pyramid.channels[0], pyramid.strides, config.rpn, _box_loss(config.rpn.box_loss), config.semantics, divisor
    )
    roi_heads = _roi_heads(config, pyramid)
    preprocess = Preprocess(config.preprocess, config.num_classes, divisor)
    detector = Detector(config, preprocess, backbone, pyramid, rpn, roi_heads)
    return detector.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def build_backbone(config: BackboneConfig) -> Any:
    """The backbone of a config, its first layers frozen as the config says."""
    backbone = BACKBONES[type(config)](config)
    for layer in backbone.layers()[: config.frozen_stages]:
        layer.requires_grad_(False)
    return backbone


def _box_loss(config: Any) -> Any:
    return BOX_LOSSES[type(config)](config)


def _roi_heads(config: ModelConfig, pyramid: Pyramid) -> Cascade:
    """Figure 3: (a) and (d) the cascade, (b) iterative bbox, (c) the integral loss."""
    head, lay_out = BOX_HEADS[type(config.box_head)](config, pyramid)
    common = (_box_loss(config.box_loss), config.semantics, config.sampling, config.inference, lay_out)
    if config.method == "iterative":
        return iterative_bbox(head(), config.stages[0], len(config.stages), *common)
    if config.method == "integral":
        return IntegralLoss(head(classifiers=len(config.stages)), config.stages, *common)
    return Cascade([head() for _ in config.stages], config.stages, *common)
