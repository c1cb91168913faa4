"""Make a model's config from the name of an architecture and options."""

from dataclasses import replace as replace_options
from typing import Any, TypeVar

import torch

from cascade_rcnn.arguments import check_number, typed
from cascade_rcnn.config import (
    BackboneConfig,
    BoxHeadConfig,
    BoxLossConfig,
    Category,
    ConvFCHeadConfig,
    InferenceConfig,
    IoULossConfig,
    MaskConfig,
    ModelConfig,
    ModelOptions,
    NormConfig,
    OwnBackboneConfig,
    PreprocessConfig,
    PyramidConfig,
    RoIAlignConfig,
    RoITaskConfig,
    RPNConfig,
    SamplingConfig,
    SingleScaleConfig,
    StageConfig,
    TimmConfig,
    replace,
)
from cascade_rcnn.config.presets import Preset, find_preset, preset_stages
from cascade_rcnn.errors import UserError
from cascade_rcnn.models.architectures import MASKED, METHODS, Family, choose
from cascade_rcnn.models.backbones.promise import check_promise
from cascade_rcnn.models.backbones.timm import examine
from cascade_rcnn.models.build import build_backbone, layers
from cascade_rcnn.protocols import Backbone

T = TypeVar("T")


def model_config(
    name: str, categories: tuple[Category, ...], options: ModelOptions, *, pretrained: bool, own: Backbone | None = None
) -> ModelConfig:
    """Make the config of a named architecture with these options; `own` is the user's backbone module, if any."""
    options = ModelOptions(**typed(vars(options), ModelOptions))
    given = options.backbone if own is None else _described(own)
    name, family, method, backbone = choose(name, given)
    preset = find_preset(options.semantics)
    stages = _stages(method, options)
    return ModelConfig(
        name=name,
        categories=categories,
        stages=stages,
        method=METHODS[method][0],
        semantics=preset.semantics,
        preprocess=_preprocess(family, options, backbone),
        backbone=_backbone(backbone, options, pretrained, own),
        pyramid=_pyramid(family.pyramid, options),
        rpn=_rpn(family, preset, options, several=METHODS[method][0] == "cascade" and len(stages) > 1),
        box_head=_box_head(name, family.box_head, options),
        box_loss=_box_loss(preset, options),
        classification=options.classification,
        tasks=_tasks(method, family, preset, stages, options),
        sampling=SamplingConfig(rois=_first(options.rois, family.rois)),
        inference=_inference(preset, options),
    )


def _first(given: T | None, default: T) -> T:
    return default if given is None else given


def _stages(method: str, options: ModelOptions) -> tuple[StageConfig, ...]:
    kind, default = METHODS[method]
    if kind != "iterative" and options.iterations is not None:
        raise UserError(f"iterations={options.iterations}: only iterative_bbox models iterate; others have stages")
    if kind != "cascade" and options.stages is not None:
        other = "iterations" if kind == "iterative" else "one u for each classifier in stage_ious"
        raise UserError(f"stages={options.stages}: {method} models have one stage; give {other}")
    if kind == "cascade":
        stages = _cascade_stages(default, options)
    elif kind == "iterative":
        number = default if options.iterations is None else options.iterations
        check_number("iterations", number, 1, whole=True)
        stages = _cascade_stages(1, replace_options(options, stages=1)) * number
    else:
        ious = _first(options.stage_ious, tuple(stage.iou for stage in preset_stages(options.semantics, default)))
        (only,) = _cascade_stages(1, replace_options(options, stages=1, stage_ious=None))
        stages = tuple(replace(only, iou=u) for u in ious)
    if options.test_stage is not None and not 1 <= options.test_stage <= len(stages):
        raise UserError(f"test_stage={options.test_stage}: this model has stages 1 to {len(stages)}")
    return stages


def _cascade_stages(default: int, options: ModelOptions) -> tuple[StageConfig, ...]:
    columns = {"iou": options.stage_ious, "std": options.stage_stds, "mean": options.stage_means}
    given = {len(x) for x in columns.values() if x is not None}
    number = options.stages
    if number is None:
        number = given.pop() if given else default
    check_number("stages", number, 1, whole=True)
    if given - {number}:
        raise UserError(
            f"stages={number}, but stage_ious, stage_stds or stage_means have {max(given)} entries; give one per stage"
        )
    stages = preset_stages(options.semantics, number)
    for name, column in columns.items():
        if column is not None:
            stages = tuple(replace(stage, **{name: x}) for stage, x in zip(stages, column, strict=True))
    return stages


def _preprocess(family: Family, options: ModelOptions, backbone: BackboneConfig) -> PreprocessConfig:
    min_size = family.min_size if options.min_size == "default" else options.min_size
    max_size = _first(options.max_size, family.max_size)
    config = PreprocessConfig(
        min_size=(min_size,) if isinstance(min_size, int) else min_size,
        max_size=max_size,
        divisor=family.divisor,
        square=max_size if family.square else None,
    )
    return replace(config, **examine(backbone)) if isinstance(backbone, TimmConfig) else config


def _described(own: Any) -> OwnBackboneConfig:
    check_promise(own, OwnBackboneConfig().label)
    return OwnBackboneConfig(channels=tuple(own.channels), strides=tuple(own.strides))


def _backbone(
    backbone: BackboneConfig, options: ModelOptions, pretrained: bool, own: Backbone | None
) -> BackboneConfig:
    if options.backbone_width is not None:
        backbone = backbone.resized(options.backbone_width)
    if not pretrained:
        backbone = backbone.untrained()
    if options.backbone_norm is not None:
        _check_has(backbone, "norm", f"backbone_norm={options.backbone_norm}")
        backbone = backbone.normalised(options.backbone_norm)
    return trained_with(
        backbone,
        own,
        drop_path=options.drop_path,
        checkpointing=options.checkpointing,
        trainable_layers=options.trainable_layers,
    )


def trained_with(
    backbone: BackboneConfig,
    own: Backbone | None = None,
    *,
    drop_path: float | None = None,
    checkpointing: bool = False,
    trainable_layers: int | None = None,
) -> BackboneConfig:
    """Change how a backbone is trained, as in `ModelOptions`, whose defaults stand for its own settings."""
    changes: dict[str, Any] = {"drop_path": drop_path, "checkpointing": checkpointing or None}
    changes = {name: value for name, value in changes.items() if value is not None}
    for name, value in changes.items():
        _check_has(backbone, name, f"{name}={value}")
    backbone = replace(backbone, **changes)
    if trainable_layers is None:
        return backbone
    number = _count_layers(backbone, own)
    if not 0 <= trainable_layers <= number:
        raise UserError(f"trainable_layers={trainable_layers}: the backbone has {number} layers; give 0 to {number}")
    return replace(backbone, frozen_stages=number - trainable_layers)


def _check_has(backbone: BackboneConfig, field: str, given: str) -> None:
    if field not in backbone.__struct_fields__:
        raise UserError(f"{given}: {backbone.label} has no such option; leave it out")


def _count_layers(backbone: BackboneConfig, own: Backbone | None) -> int:
    backbone = replace(backbone, frozen_stages=0)
    if own is not None:
        return len(layers(own, backbone))
    with torch.device("meta"):
        return len(layers(build_backbone(backbone), backbone))


def _norm(options: ModelOptions) -> NormConfig | None:
    return None if options.norm is None else NormConfig.of(options.norm)


def _pyramid(pyramid: PyramidConfig, options: ModelOptions) -> PyramidConfig:
    if isinstance(pyramid, SingleScaleConfig):
        return pyramid
    return replace(pyramid, channels=options.pyramid_channels, norm=_norm(options) or pyramid.norm)


def _box_head(name: str, head: BoxHeadConfig, options: ModelOptions) -> BoxHeadConfig:
    head = replace(head, width=_first(options.head_width, head.width), class_agnostic=options.class_agnostic)
    if not isinstance(head, ConvFCHeadConfig):
        if options.head == "4conv1fc":
            raise UserError(f"head='{options.head}': {name} has a fixed head; leave out the option")
        return head
    convs, fcs = {None: (head.convs, head.fcs), "2fc": (0, 2), "4conv1fc": (4, 1)}[options.head]
    if convs == 0:
        return replace(head, convs=0, fcs=fcs, norm=None)
    return replace(head, convs=convs, conv_channels=options.pyramid_channels, fcs=fcs, norm=_norm(options) or head.norm)


def _box_loss(preset: Preset, options: ModelOptions) -> BoxLossConfig:
    if options.box_loss == "smooth_l1":
        return preset.box_loss
    return IoULossConfig(kind=options.box_loss, weight=preset.iou_loss_weight)


def _tasks(
    method: str, family: Family, preset: Preset, stages: tuple[StageConfig, ...], options: ModelOptions
) -> tuple[RoITaskConfig, ...]:
    """Configure mask heads for a mask method: on the preset's stages, each weighted like its stage."""
    given = {name: getattr(options, name) for name in ("mask_stages", "mask_channels", "mask_agnostic")}
    if method not in MASKED:
        for name, value in given.items():
            if value:
                known = " or ".join(MASKED)
                raise UserError(f"{name}={value}: {method} models have no masks; choose a {known} model")
        return ()
    trained = _first(options.mask_stages, tuple(range(1, 1 + (len(stages) if preset.masks == "every" else 1))))
    if not all(1 <= t <= len(stages) for t in trained):
        raise UserError(f"mask_stages={trained}: this model has stages 1 to {len(stages)}")
    assert isinstance(family.box_head, ConvFCHeadConfig)
    masks = MaskConfig(
        stages=trained,
        weights=tuple(stages[t - 1].loss_weight for t in trained),
        channels=_first(options.mask_channels, options.pyramid_channels),
        norm=_norm(options) or family.box_head.norm,
        class_agnostic=options.mask_agnostic,
        roi_align=RoIAlignConfig(resolution=14),
    )
    return (masks,)


def _rpn(family: Family, preset: Preset, options: ModelOptions, *, several: bool) -> RPNConfig:
    """Make the RPN's config from the preset; without a pyramid, the family sets the number of proposals."""
    pyramid = not isinstance(family.pyramid, SingleScaleConfig)
    sizes = (
        _anchor_sizes(preset.rpn_levels, options) if pyramid else (_first(options.anchor_sizes, (64, 128, 256, 512)),)
    )
    return replace(
        preset.rpn,
        anchors=replace(preset.rpn.anchors, sizes=sizes, ratios=options.anchor_ratios),
        convs=_first(options.rpn_convs, family.rpn_convs),
        channels=_first(options.rpn_channels, family.rpn_channels),
        shared=preset.rpn.shared or not pyramid,
        **_proposals(family, preset, options, several),
    )


def _anchor_sizes(levels: int, options: ModelOptions) -> tuple[int | tuple[int, ...], ...]:
    sizes = _first(options.anchor_sizes, (32, 64, 128, 256, 512))
    if len(sizes) > 5:
        raise UserError(f"anchor_sizes has {len(sizes)} entries; the pyramid has levels P2 to P6: give at most 5")
    return sizes if len(sizes) <= levels else (*sizes[: levels - 1], sizes[levels - 1 :])


def _proposals(family: Family, preset: Preset, options: ModelOptions, several: bool) -> dict[str, int]:
    """Return how many boxes enter and leave NMS, set by the user, the family or the preset, in this order."""
    number = options.proposals
    if number is None:
        return family.proposals or ({"post_nms_train": preset.cascade_proposals} if several else {})
    check_number("proposals", number, 1, whole=True)
    into, kept = family.train_proposals
    return {
        "pre_nms_train": into * number,
        "pre_nms_test": family.test_proposals * number,
        "post_nms_train": kept * number,
        "post_nms_test": number,
    }


def _inference(preset: Preset, options: ModelOptions) -> InferenceConfig:
    return InferenceConfig(
        score_threshold=_first(options.score_threshold, preset.score_threshold),
        nms_iou=options.nms_iou,
        agnostic_nms=options.agnostic_nms,
        max_detections=options.max_detections,
        stage=options.test_stage,
        ensemble=options.ensemble,
        ensemble_rois=options.ensemble_rois,
        survivors=options.survivors,
    )
