"""The only composer: a config -> a detector."""

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from cascade_rcnn.config import ModelConfig
from cascade_rcnn.heads.box_heads import RFCNHead, TwoLayerHead
from cascade_rcnn.heads.cascade import Cascade, Read
from cascade_rcnn.heads.integral import IntegralLoss
from cascade_rcnn.heads.iterative import iterative_bbox
from cascade_rcnn.models.backbones import build_backbone
from cascade_rcnn.models.detector import Detector
from cascade_rcnn.models.fpn import FeaturePyramid, SingleScale
from cascade_rcnn.models.preprocess import Preprocess
from cascade_rcnn.models.roi_align import PyramidRoIAlign
from cascade_rcnn.models.rpn import RegionProposalNetwork


def build(config: ModelConfig) -> Detector:
    """The detector of a config, with random weights, in channels_last memory.

    >>> config = load("starter").config
    >>> build(config).class_names
    ['person']
    """
    backbone = build_backbone(config.backbone)
    if config.pyramid_channels is None:
        pyramid = SingleScale(backbone.strides, backbone.channels)
    else:
        levels = max(4, len(config.rpn.anchors.sizes))
        pyramid = FeaturePyramid(backbone.channels, config.pyramid_channels, levels)
    rpn = RegionProposalNetwork(pyramid.channels[0], pyramid.strides, config.rpn, config.semantics)
    roi_heads = _roi_heads(config, pyramid)
    preprocess = Preprocess(config.preprocess, config.num_classes)
    detector = Detector(config, preprocess, backbone, pyramid, rpn, roi_heads)
    return detector.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _roi_heads(config: ModelConfig, pyramid: FeaturePyramid | SingleScale) -> Cascade:
    """Figure 3: (a) and (d) the cascade, (b) iterative bbox, (c) the integral loss."""
    head, read = _head_maker(config, pyramid)
    common = (config.semantics, config.sampling, config.inference, read)
    if config.method == "iterative":
        return iterative_bbox(head(), config.stages[0], len(config.stages), *common)
    if config.method == "integral":
        return IntegralLoss(head(classifiers=len(config.stages)), config.stages, *common)
    return Cascade([head() for _ in config.stages], config.stages, *common)


def _head_maker(config: ModelConfig, pyramid: FeaturePyramid | SingleScale) -> tuple[Callable[..., nn.Module], Read]:
    """What makes a new head of the config's kind, and how all heads read the pyramid; the pool holds no weights."""
    bins, channels = config.roi_align.resolution**2, pyramid.channels[-1]
    if config.head.kind == "rfcn":
        pool = PyramidRoIAlign(config.roi_align, pyramid.strides, position_sensitive=True)
        return partial(RFCNHead, pool, bins, channels, config.num_classes, config.head), list
    pool = PyramidRoIAlign(config.roi_align, pyramid.strides)
    return partial(TwoLayerHead, pool, bins * channels, config.num_classes, config.head), pool.table
