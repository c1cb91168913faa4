"""The architectures by name, and what a name and options amount to: a config.

A name is a method of Figure 3 with a family of section 5.1.1 and its backbone.
"""

import fnmatch
from dataclasses import dataclass, replace
from typing import Literal

from cascade_rcnn.config import (
    Anchors,
    Backbone,
    BoxHead,
    Category,
    Inference,
    ModelConfig,
    ModelOptions,
    Preprocess,
    Rpn,
    Sampling,
    Stage,
)
from cascade_rcnn.errors import UserError, nearest
from cascade_rcnn.presets import PROPOSALS, SEMANTICS, preset_stages

Method = Literal["cascade", "iterative", "integral"]


@dataclass(frozen=True, kw_only=True)
class Family:
    """What the models of one baseline have in common: the defaults of `ModelOptions`."""

    names: dict[str, str]  # method of `_METHODS` -> pattern of the model's name
    backbones: dict[str, Backbone]
    pyramid: bool
    head: Literal["two_layer", "rfcn"] = "two_layer"
    head_width: int = 1024
    proposals: dict[str, int] | None = None  # without a pyramid, of `Rpn`; None: as the semantics preset has them
    rois: int
    min_size: int
    max_size: int


_METHODS: dict[str, tuple[Method, int]] = {  # and how many stages, iterations or classifiers
    "faster_rcnn": ("cascade", 1),
    "cascade_rcnn": ("cascade", 3),
    "iterative_bbox": ("iterative", 3),
    "integral_loss": ("integral", 3),
}
_RESNETS = {f"resnet{depth}": Backbone(depth=depth) for depth in (18, 34, 50, 101, 152)}
_FPN = Family(
    names={method: f"{method}_{{}}_fpn" for method in _METHODS},
    backbones=_RESNETS | {"resnext101_32x8d": Backbone(depth=101, groups=32, width_per_group=8)},
    pyramid=True,
    rois=512,
    min_size=800,
    max_size=1333,
)
_VGG = Family(
    names={method: f"{method}_{{}}" for method in _METHODS},
    backbones={"vgg16": Backbone(family="vgg", depth=16)},
    pyramid=False,
    head_width=2048,
    proposals={"pre_nms_train": 2000, "post_nms_train": 2000, "pre_nms_test": 5000, "post_nms_test": 300},
    rois=128,
    min_size=600,
    max_size=1000,
)
_RFCN = Family(
    names={
        "faster_rcnn": "rfcn_{}",
        "cascade_rcnn": "cascade_rfcn_{}",
        "iterative_bbox": "iterative_bbox_rfcn_{}",
        "integral_loss": "integral_loss_rfcn_{}",
    },
    backbones={name: replace(backbone, dilated=True) for name, backbone in _RESNETS.items()},
    pyramid=False,
    head="rfcn",
    proposals={"pre_nms_train": 4000, "post_nms_train": 4000, "pre_nms_test": 3000, "post_nms_test": 300},
    rois=256,
    min_size=600,
    max_size=1000,
)
_ARCHITECTURES = {
    pattern.format(name): (family, method, backbone)
    for family in (_FPN, _VGG, _RFCN)
    for method, pattern in family.names.items()
    for name, backbone in family.backbones.items()
}
_PYRAMID_LEVELS = 5


def list_models(pattern: str = "*") -> list[str]:
    """The names that `create_model` knows and that match a pattern, as of files: `*` stands for anything.

    >>> list_models("cascade*resnet50*")
    ['cascade_rcnn_resnet50_fpn', 'cascade_rfcn_resnet50']
    """
    return sorted(fnmatch.filter(_ARCHITECTURES, pattern))


def sibling(name: str, method: str) -> str:
    """The model of the same baseline and backbone by another method: faster_rcnn, cascade_rcnn, integral_loss, ..."""
    if name not in _ARCHITECTURES:
        raise UserError(f"no model is called '{name}'{nearest(name, list_models())}; see cascade_rcnn.list_models()")
    family, _, backbone = _ARCHITECTURES[name]
    (suffix,) = [key for key, value in family.backbones.items() if value == backbone]
    return family.names[method].format(suffix)


def model_config(
    name: str, categories: tuple[Category, ...], options: ModelOptions, *, pretrained: bool
) -> ModelConfig:
    """The config of a named architecture with these options."""
    if name not in _ARCHITECTURES:
        raise UserError(f"no model is called '{name}'{nearest(name, list_models())}; see cascade_rcnn.list_models()")
    if options.semantics not in SEMANTICS:
        raise UserError(f"semantics='{options.semantics}': it is one of {', '.join(SEMANTICS)}")
    family, method, backbone = _ARCHITECTURES[name]
    stages = _stages(method, options)
    return ModelConfig(
        name=name,
        categories=categories,
        stages=stages,
        method=_METHODS[method][0],
        semantics=SEMANTICS[options.semantics],
        preprocess=_preprocess(family, options),
        backbone=_backbone(backbone, options, pretrained),
        pyramid_channels=options.pyramid_channels if family.pyramid else None,
        rpn=_rpn(family, options, several=_METHODS[method][0] == "cascade" and len(stages) > 1),
        head=BoxHead(
            kind=family.head, width=options.head_width or family.head_width, class_agnostic=options.class_agnostic
        ),
        sampling=Sampling(rois=options.rois or family.rois),
        inference=_inference(options),
    )


def _stages(method: str, options: ModelOptions) -> tuple[Stage, ...]:
    kind, default = _METHODS[method]
    if kind != "iterative" and options.iterations is not None:
        raise UserError(f"iterations={options.iterations}: only iterative_bbox models iterate; others have stages")
    if kind != "cascade" and options.stages is not None:
        other = "iterations" if kind == "iterative" else "one u for each classifier in stage_ious"
        raise UserError(f"stages={options.stages}: {method} models have one stage; give {other}")
    if kind == "cascade":
        stages = _cascade_stages(default, options)
    elif kind == "iterative":
        number = default if options.iterations is None else options.iterations
        if number < 1:
            raise UserError(f"iterations={number}: give 1 or more")
        stages = _cascade_stages(1, replace(options, stages=1)) * number
    else:
        ious = options.stage_ious or tuple(stage.iou for stage in preset_stages(options.semantics, default))
        (only,) = _cascade_stages(1, replace(options, stages=1, stage_ious=None))
        stages = tuple(replace(only, iou=u) for u in ious)
    if options.test_stage is not None and not 1 <= options.test_stage <= len(stages):
        raise UserError(f"test_stage={options.test_stage}: this model has stages 1 to {len(stages)}")
    return stages


def _cascade_stages(default: int, options: ModelOptions) -> tuple[Stage, ...]:
    columns = {"iou": options.stage_ious, "std": options.stage_stds, "mean": options.stage_means}
    given = {len(x) for x in columns.values() if x is not None}
    number = options.stages
    if number is None:
        number = given.pop() if given else default
    if given - {number}:
        raise UserError(
            f"stages={number}, but stage_ious, stage_stds or stage_means have {max(given)} entries; give one a stage"
        )
    stages = preset_stages(options.semantics, number)
    for name, column in columns.items():
        if column is not None:
            stages = tuple(replace(stage, **{name: x}) for stage, x in zip(stages, column, strict=True))
    return stages


def _preprocess(family: Family, options: ModelOptions) -> Preprocess:
    min_size = family.min_size if options.min_size == "default" else options.min_size
    return Preprocess(
        min_size=(min_size,) if isinstance(min_size, int) else min_size,
        max_size=options.max_size or family.max_size,
    )


def _backbone(backbone: Backbone, options: ModelOptions, pretrained: bool) -> Backbone:
    trainable = options.trainable_layers if options.trainable_layers is not None else (3 if pretrained else 5)
    if not 0 <= trainable <= 5:
        raise UserError(f"trainable_layers={trainable}: the backbone has 5 layers; give 0 to 5")
    width = options.backbone_width or backbone.planes
    norm = "frozen" if pretrained else "batch"
    return replace(backbone, stem=width, planes=width, norm=norm, frozen_stages=5 - trainable)


def _rpn(family: Family, options: ModelOptions, *, several: bool) -> Rpn:
    """Sizes, channels and weights as in the released code where there is no pyramid, or by `paper` semantics."""
    paper = options.semantics == "paper"
    return Rpn(
        anchors=Anchors(
            sizes=_anchor_sizes(family, options), ratios=options.anchor_ratios, offset=0.5 if paper else 0.0
        ),
        channels=options.rpn_channels or (None if family.pyramid else 512),
        shared=not (paper and family.pyramid),
        min_size=5.0 if paper else 0.0,
        **_proposals(family, options, several),
    )


def _anchor_sizes(family: Family, options: ModelOptions) -> tuple[int | tuple[int, ...], ...]:
    if not family.pyramid:
        return (options.anchor_sizes or (64, 128, 256, 512),)
    sizes = options.anchor_sizes or (32, 64, 128, 256, 512)
    if len(sizes) > _PYRAMID_LEVELS:
        raise UserError(f"anchor_sizes has {len(sizes)} entries; the pyramid has levels P2 to P6: give at most 5")
    if options.semantics == "paper" and len(sizes) == _PYRAMID_LEVELS:
        return (*sizes[:3], sizes[3:])  # both on P5
    return sizes


def _proposals(family: Family, options: ModelOptions, several: bool) -> dict[str, int]:
    """How many boxes enter NMS and leave it: by the user's number, the family's, or the preset's."""
    number = options.proposals
    if number is None:
        return family.proposals or PROPOSALS[options.semantics, several]
    into, kept = (2, 1) if family.pyramid else (10, 4)  # in training
    return {
        "pre_nms_train": into * number,
        "pre_nms_test": number if family.pyramid else into * number,
        "post_nms_train": kept * number,
        "post_nms_test": number,
    }


def _inference(options: ModelOptions) -> Inference:
    default = 0.001 if options.semantics == "paper" else 0.05
    return Inference(
        score_threshold=default if options.score_threshold is None else options.score_threshold,
        nms_iou=options.nms_iou,
        max_detections=options.max_detections,
        stage=options.test_stage,
        ensemble=options.ensemble,
        ensemble_rois=options.ensemble_rois,
        survivors=options.survivors,
    )
