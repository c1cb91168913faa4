"""The only composer: a config -> a detector; and by name, `create_model`."""

from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cascade_rcnn.config import Category, ModelConfig, ModelOptions
from cascade_rcnn.errors import UserError, nearest
from cascade_rcnn.heads.box_heads import RFCNHead, TwoLayerHead
from cascade_rcnn.heads.cascade import Cascade, Read
from cascade_rcnn.heads.integral import IntegralLoss
from cascade_rcnn.heads.iterative import iterative_bbox
from cascade_rcnn.models.architectures import model_config
from cascade_rcnn.models.backbones import build_backbone, load_pretrained
from cascade_rcnn.models.detector import Detector
from cascade_rcnn.models.fpn import FeaturePyramid, SingleScale
from cascade_rcnn.models.preprocess import Preprocess
from cascade_rcnn.models.roi_align import PyramidRoIAlign
from cascade_rcnn.models.rpn import RegionProposalNetwork


def create_model(
    name: str,
    num_classes: int | None = None,
    *,
    categories: Sequence[Category | str] | None = None,
    weights_backbone: str | Path | None = None,
    **options: Any,
) -> Detector:
    """Build a detector for M = `num_classes` classes, not counting background (timm's convention).

    `categories` (names, or `Category` with the data set's ids) may stand in for `num_classes`. `weights_backbone` is
    None (random, batch norm trained), "imagenet" (torchvision's IMAGENET1K_V1) or a local file; with weights the batch
    norm, the stem and the first layer are frozen. `options` are the fields of `ModelOptions`. Raises UserError for a
    name or option that does not exist, with the nearest that does.
    """
    known = [f.name for f in fields(ModelOptions)]
    for option in options:
        if option not in known:
            raise UserError(f"create_model has no option '{option}'{nearest(option, known)}; it has {', '.join(known)}")
    config = model_config(
        name, _categories(num_classes, categories), ModelOptions(**options), pretrained=weights_backbone is not None
    )
    model = build(config)
    if weights_backbone is not None:
        load_pretrained(model.backbone, weights_backbone)  # type: ignore[arg-type]
    return model.train()


def _categories(number: int | None, given: Sequence[Category | str] | None) -> tuple[Category, ...]:
    if given is None:
        if number is None or number < 1:
            raise UserError(f"num_classes={number}: give the number of classes without background, 1 or more")
        return tuple(Category(id=k, name=f"class {k}") for k in range(1, number + 1))
    categories = tuple(c if isinstance(c, Category) else Category(id=k, name=c) for k, c in enumerate(given, start=1))
    if number is not None and number != len(categories):
        raise UserError(f"num_classes={number}, but {len(categories)} categories are given; leave one of them out")
    return categories


def build(config: ModelConfig) -> Detector:
    """The detector of a config, with random weights, in channels_last memory."""
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
