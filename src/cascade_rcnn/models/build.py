"""The only composer: a name and options -> a config -> a detector."""

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch

from cascade_rcnn.config import (
    SEMANTICS,
    Anchors,
    BoxHead,
    Category,
    Inference,
    ModelConfig,
    ModelOptions,
    Preprocess,
    ResNet,
    Rpn,
    Sampling,
    Stage,
    preset_stages,
)
from cascade_rcnn.errors import UserError, nearest
from cascade_rcnn.heads.box_heads import TwoLayerHead
from cascade_rcnn.heads.cascade import Cascade
from cascade_rcnn.models import backbones
from cascade_rcnn.models.detector import Detector
from cascade_rcnn.models.fpn import FeaturePyramid
from cascade_rcnn.models.preprocess import Preprocess as PreprocessModule
from cascade_rcnn.models.roi_align import PyramidRoIAlign
from cascade_rcnn.models.rpn import RegionProposalNetwork

_BACKBONES = {f"resnet{depth}": ResNet(depth=depth) for depth in (18, 34, 50, 101, 152)} | {
    "resnext101_32x8d": ResNet(depth=101, groups=32, width_per_group=8),
}
_STAGES = {"faster_rcnn": 1, "cascade_rcnn": 3}
_ARCHITECTURES = {
    f"{detector}_{backbone}_fpn": (stages, config)
    for detector, stages in _STAGES.items()
    for backbone, config in _BACKBONES.items()
}


def list_models() -> list[str]:
    """The names that `create_model` knows."""
    return sorted(_ARCHITECTURES)


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
        backbones.load_pretrained(model.backbone, weights_backbone)  # type: ignore[arg-type]
    return model


def _categories(number: int | None, given: Sequence[Category | str] | None) -> tuple[Category, ...]:
    if given is None:
        if number is None or number < 1:
            raise UserError(f"num_classes={number}: give the number of classes without background, 1 or more")
        return tuple(Category(id=k, name=f"class {k}") for k in range(1, number + 1))
    categories = tuple(c if isinstance(c, Category) else Category(id=k, name=c) for k, c in enumerate(given, start=1))
    if number is not None and number != len(categories):
        raise UserError(f"num_classes={number}, but {len(categories)} categories are given; leave one of them out")
    return categories


def model_config(
    name: str, categories: tuple[Category, ...], options: ModelOptions, *, pretrained: bool
) -> ModelConfig:
    """The config of a named architecture with these options."""
    if name not in _ARCHITECTURES:
        raise UserError(f"no model is called '{name}'{nearest(name, list_models())}; see cascade_rcnn.list_models()")
    if options.semantics not in SEMANTICS:
        raise UserError(f"semantics='{options.semantics}': it is one of {', '.join(SEMANTICS)}")
    default_stages, backbone = _ARCHITECTURES[name]
    trainable = options.trainable_layers if options.trainable_layers is not None else (3 if pretrained else 5)
    if not 0 <= trainable <= 5:
        raise UserError(f"trainable_layers={trainable}: the backbone has 5 layers; give 0 to 5")
    paper = options.semantics == "paper"
    sizes = options.anchor_sizes or ((32, 64, 128, 256) if paper else (32, 64, 128, 256, 512))
    if len(sizes) > len(FeaturePyramid.strides):
        raise UserError(f"anchor_sizes has {len(sizes)} entries; the pyramid has levels P2 to P6: give at most 5")
    threshold = options.score_threshold if options.score_threshold is not None else (0.001 if paper else 0.05)
    min_size = (options.min_size,) if isinstance(options.min_size, int) else options.min_size
    return ModelConfig(
        name=name,
        categories=categories,
        stages=_stages(default_stages, options),
        semantics=SEMANTICS[options.semantics],
        preprocess=Preprocess(min_size=min_size, max_size=options.max_size),
        backbone=replace(backbone, norm="frozen" if pretrained else "batch", frozen_stages=5 - trainable),
        pyramid_channels=options.pyramid_channels,
        rpn=Rpn(
            anchors=Anchors(sizes=sizes, ratios=options.anchor_ratios),
            pre_nms_train=2 * options.proposals,
            pre_nms_test=options.proposals,
            post_nms_train=options.proposals,
            post_nms_test=options.proposals,
        ),
        head=BoxHead(width=options.head_width, class_agnostic=options.class_agnostic),
        sampling=Sampling(rois=options.rois),
        inference=Inference(
            score_threshold=threshold,
            nms_iou=options.nms_iou,
            max_detections=options.max_detections,
            stage=options.test_stage,
            ensemble=options.ensemble,
            ensemble_rois=options.ensemble_rois,
        ),
    )


def _stages(default: int, options: ModelOptions) -> tuple[Stage, ...]:
    given = {len(x) for x in (options.stage_ious, options.stage_stds) if x is not None}
    number = options.stages
    if number is None:
        number = given.pop() if given else default
    if given - {number}:
        raise UserError(f"stages={number}, but stage_ious or stage_stds have {max(given)} entries; give one a stage")
    stages = list(preset_stages(options.semantics, number))
    for t in range(number):
        if options.stage_ious is not None:
            stages[t] = replace(stages[t], iou=options.stage_ious[t])
        if options.stage_stds is not None:
            stages[t] = replace(stages[t], std=options.stage_stds[t])
    if options.test_stage is not None and not 1 <= options.test_stage <= number:
        raise UserError(f"test_stage={options.test_stage}: this model has stages 1 to {number}")
    return tuple(stages)


def build(config: ModelConfig) -> Detector:
    """The detector of a config, with random weights, in channels_last memory."""
    backbone = backbones.ResNet(config.backbone)
    levels = max(4, len(config.rpn.anchors.sizes))
    pyramid = FeaturePyramid(backbone.channels, config.pyramid_channels, levels)
    rpn = RegionProposalNetwork(config.pyramid_channels, pyramid.strides, config.rpn, config.semantics)
    pool = PyramidRoIAlign(config.roi_align, pyramid.strides)
    pooled = config.roi_align.resolution**2 * config.pyramid_channels
    heads = [TwoLayerHead(pooled, config.num_classes, config.head) for _ in config.stages]
    roi_heads = Cascade(pool, heads, config.stages, config.semantics, config.sampling, config.inference)
    preprocess = PreprocessModule(config.preprocess, config.num_classes)
    detector = Detector(config, preprocess, backbone, pyramid, rpn, roi_heads)
    return detector.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
