"""The architectures by name, and what a name and options amount to: a config.

A name is a method of Figure 3 with a family of section 5.1.1 and its backbone.
"""

import fnmatch
from dataclasses import dataclass
from dataclasses import replace as replace_options
from typing import Any, Literal

import torch

from cascade_rcnn.config import (
    CONVNEXTS,
    SWINS,
    BackboneConfig,
    BoxHeadConfig,
    BoxLossConfig,
    Category,
    ConvFCHeadConfig,
    ConvNeXtConfig,
    DeformableConfig,
    FPNConfig,
    InferenceConfig,
    IoULossConfig,
    ModelConfig,
    ModelOptions,
    NormConfig,
    OwnBackboneConfig,
    PreprocessConfig,
    PyramidConfig,
    RegNetConfig,
    ResNetConfig,
    RFCNHeadConfig,
    RPNConfig,
    SamplingConfig,
    SimplePyramidConfig,
    SingleScaleConfig,
    StageConfig,
    SwinConfig,
    TimmConfig,
    VGGConfig,
    ViTConfig,
    replace,
)
from cascade_rcnn.config.presets import Preset, find_preset, preset_stages
from cascade_rcnn.errors import UserError, nearest
from cascade_rcnn.models.backbones.promise import check_promise
from cascade_rcnn.models.backbones.timm import examine
from cascade_rcnn.models.build import build_backbone, layers
from cascade_rcnn.protocols import Backbone

Method = Literal["cascade", "iterative", "integral"]


@dataclass(frozen=True, kw_only=True)
class Family:
    """What the models of one baseline have in common: the defaults of `ModelOptions`."""

    names: dict[str, str]  # method of `_METHODS` -> pattern of the model's name
    backbones: dict[str, BackboneConfig]
    pyramid: PyramidConfig
    box_head: BoxHeadConfig
    rpn_convs: int = 1
    rpn_channels: int | None = None
    proposals: dict[str, int] | None = None  # of `RPNConfig`; None: as the preset has them
    train_proposals: tuple[int, int] = (2, 1)  # into NMS and out of it, for each that is kept at test
    test_proposals: int = 1  # into NMS, for each that is kept
    rois: int
    min_size: int
    max_size: int
    divisor: int | None = None  # padded images are multiples of it; None: of the coarsest stride
    square: bool = False  # images are padded to squares of `max_size`


_METHODS: dict[str, tuple[Method, int]] = {  # and how many stages, iterations or classifiers
    "faster_rcnn": ("cascade", 1),
    "cascade_rcnn": ("cascade", 3),
    "iterative_bbox": ("iterative", 3),
    "integral_loss": ("integral", 3),
}
_RESNETS: dict[str, ResNetConfig] = {f"resnet{depth}": ResNetConfig(depth=depth) for depth in (18, 34, 50, 101, 152)}
_DEFORMABLE: dict[str, ResNetConfig] = {
    f"resnet{depth}_dcnv2": ResNetConfig(depth=depth, deformable=DeformableConfig(modulated=True))
    for depth in (50, 101)
}
_REGNETS: dict[str, BackboneConfig] = {
    "regnet_x_800mf": RegNetConfig(widths=(64, 128, 288, 672), depths=(1, 3, 7, 5), group_width=16),
    "regnet_x_3_2gf": RegNetConfig(widths=(96, 192, 432, 1008), depths=(2, 6, 15, 2), group_width=48),
}
_SWINS = {
    name: SwinConfig(width=SWINS[name][0], depths=SWINS[name][1], heads=SWINS[name][0] // 32, drop_path=rate)
    for name, rate in {"swin_t": 0.2, "swin_s": 0.2, "swin_b": 0.3, "swin_l": 0.4}.items()  # as published, with masks
}
_CONVNEXT_RATES = {"tiny": 0.4, "small": 0.6, "base": 0.7, "large": 0.7, "xlarge": 0.8}  # likewise
_CONVNEXTS = {
    name: ConvNeXtConfig(width=width, depths=depths, drop_path=_CONVNEXT_RATES[name.removeprefix("convnext_")])
    for name, (width, depths) in CONVNEXTS.items()
}
_FPN = Family(
    names={method: f"{method}_{{}}_fpn" for method in _METHODS},
    backbones={
        **_RESNETS,
        **_DEFORMABLE,
        **_REGNETS,
        "resnext101_32x8d": ResNetConfig(depth=101, groups=32, width_per_group=8),
        **_SWINS,
        **_CONVNEXTS,
    },
    pyramid=FPNConfig(),
    box_head=ConvFCHeadConfig(),
    rois=512,
    min_size=800,
    max_size=1333,
)
_VGG = Family(
    names={method: f"{method}_{{}}" for method in _METHODS},
    backbones={"vgg16": VGGConfig()},
    pyramid=SingleScaleConfig(),
    box_head=ConvFCHeadConfig(width=2048),
    rpn_channels=512,
    proposals={"pre_nms_train": 2000, "post_nms_train": 2000, "pre_nms_test": 5000, "post_nms_test": 300},
    train_proposals=(10, 4),
    test_proposals=10,
    rois=128,
    min_size=600,
    max_size=1000,
    divisor=32,
)
_RFCN = Family(
    names={
        "faster_rcnn": "rfcn_{}",
        "cascade_rcnn": "cascade_rfcn_{}",
        "iterative_bbox": "iterative_bbox_rfcn_{}",
        "integral_loss": "integral_loss_rfcn_{}",
    },
    backbones={name: replace(backbone, dilated=True) for name, backbone in _RESNETS.items()},
    pyramid=SingleScaleConfig(),
    box_head=RFCNHeadConfig(),
    rpn_channels=512,
    proposals={"pre_nms_train": 4000, "post_nms_train": 4000, "pre_nms_test": 3000, "post_nms_test": 300},
    train_proposals=(10, 4),
    test_proposals=10,
    rois=256,
    min_size=600,
    max_size=1000,
    divisor=32,
)
_VIT = Family(
    names={method: f"{method}_{{}}" for method in _METHODS},
    backbones={
        "vit_b": ViTConfig(),
        "vit_l": ViTConfig(width=1024, depth=24, heads=16, global_blocks=(5, 11, 17, 23), drop_path=0.4),
        "vit_h": ViTConfig(width=1280, depth=32, heads=16, global_blocks=(7, 15, 23, 31), drop_path=0.5),
    },
    pyramid=SimplePyramidConfig(),
    box_head=ConvFCHeadConfig(convs=4, norm=NormConfig.of("layer"), fcs=1),
    rpn_convs=2,
    proposals={"post_nms_train": 1000},
    rois=512,
    min_size=1024,
    max_size=1024,
    square=True,
)
_ARCHITECTURES = {
    pattern.format(name): (family, method, backbone)
    for family in (_FPN, _VGG, _RFCN, _VIT)
    for method, pattern in family.names.items()
    for name, backbone in family.backbones.items()
}
_WITHOUT_BACKBONE = {pattern.format("").replace("__", "_"): (_FPN, method) for method, pattern in _FPN.names.items()}
_OF_TIMM = "timm/"


def list_models(pattern: str = "*") -> list[str]:
    """The names that `create_model` knows and that match a pattern, as of files: `*` stands for anything.

    With the option `backbone`, there are also those without one, such as cascade_rcnn_fpn.

    >>> list_models("*resnet18*fpn")[:2]
    ['cascade_rcnn_resnet18_fpn', 'faster_rcnn_resnet18_fpn']
    """
    return sorted(fnmatch.filter(_ARCHITECTURES, pattern))


def sibling(name: str, method: str) -> str:
    """The model of the same baseline and backbone by another method: faster_rcnn, cascade_rcnn, integral_loss, ..."""
    if name in _WITHOUT_BACKBONE:
        return next(other for other, (_, of) in _WITHOUT_BACKBONE.items() if of == method)
    family, _, backbone = _find(name)
    (suffix,) = [key for key, value in family.backbones.items() if value == backbone]
    return family.names[method].format(suffix)


def _find(name: str) -> tuple[Family, str, BackboneConfig]:
    if name not in _ARCHITECTURES:
        if name in _WITHOUT_BACKBONE:
            raise UserError(f"{name} needs a backbone: give backbone='resnet50', 'timm/NAME' or a module of your own")
        raise UserError(f"no model is called '{name}'{nearest(name, list_models())}; see cascade_rcnn.list_models()")
    return _ARCHITECTURES[name]


def _choose(name: str, backbone: str | OwnBackboneConfig | None) -> tuple[str, Family, str, BackboneConfig]:
    """The model of a name, with another backbone than the name says where one is given."""
    if backbone is None:
        return (name, *_find(name))
    family, method = _WITHOUT_BACKBONE.get(name) or _find(name)[:2]
    if not isinstance(family.pyramid, FPNConfig):
        raise UserError(f"backbone={backbone}: {name} has one of its own; models with a pyramid take others")
    if isinstance(backbone, str) and not backbone.startswith(_OF_TIMM):
        if backbone not in family.backbones:
            known = list(family.backbones)
            raise UserError(
                f"no backbone is called '{backbone}'{nearest(backbone, known)}; there are {', '.join(known)}, "
                "timm/NAME for a network of timm, and modules of your own"
            )
        return family.names[method].format(backbone), family, method, family.backbones[backbone]
    unnamed = next(other for other, found in _WITHOUT_BACKBONE.items() if found == (family, method))
    config = TimmConfig(model=backbone.removeprefix(_OF_TIMM)) if isinstance(backbone, str) else backbone
    return unnamed, family, method, config


def model_config(
    name: str, categories: tuple[Category, ...], options: ModelOptions, *, pretrained: bool, own: Backbone | None = None
) -> ModelConfig:
    """The config of a named architecture with these options; `own` is a backbone that the user has made."""
    given = options.backbone if own is None else _described(own)
    name, family, method, backbone = _choose(name, given)
    preset = find_preset(options.semantics)
    stages = _stages(method, options)
    return ModelConfig(
        name=name,
        categories=categories,
        stages=stages,
        method=_METHODS[method][0],
        semantics=preset.semantics,
        preprocess=_preprocess(family, options, backbone),
        backbone=_backbone(backbone, options, pretrained, own),
        pyramid=_pyramid(family.pyramid, options),
        rpn=_rpn(family, preset, options, several=_METHODS[method][0] == "cascade" and len(stages) > 1),
        box_head=_box_head(name, family.box_head, options),
        box_loss=_box_loss(preset, options),
        sampling=SamplingConfig(rois=options.rois or family.rois),
        inference=_inference(preset, options),
    )


def _stages(method: str, options: ModelOptions) -> tuple[StageConfig, ...]:
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
        stages = _cascade_stages(1, replace_options(options, stages=1)) * number
    else:
        ious = options.stage_ious or tuple(stage.iou for stage in preset_stages(options.semantics, default))
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
    if given - {number}:
        raise UserError(
            f"stages={number}, but stage_ious, stage_stds or stage_means have {max(given)} entries; give one a stage"
        )
    stages = preset_stages(options.semantics, number)
    for name, column in columns.items():
        if column is not None:
            stages = tuple(replace(stage, **{name: x}) for stage, x in zip(stages, column, strict=True))
    return stages


def _preprocess(family: Family, options: ModelOptions, backbone: BackboneConfig) -> PreprocessConfig:
    min_size = family.min_size if options.min_size == "default" else options.min_size
    max_size = options.max_size or family.max_size
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
    changes = {"drop_path": options.drop_path, "checkpointing": options.checkpointing or None}
    for name, value in {**changes, "backbone_norm": options.backbone_norm}.items():
        if value is not None and name.removeprefix("backbone_") not in backbone.__struct_fields__:
            raise UserError(f"{name}={value}: {backbone.label} has no such option; leave it out")
    backbone = replace(backbone, **{name: value for name, value in changes.items() if value is not None})
    if options.backbone_norm is not None:
        backbone = backbone.normalised(options.backbone_norm)
    trainable = options.trainable_layers
    if trainable is None:
        return backbone
    number = _count_layers(backbone, own)
    if not 0 <= trainable <= number:
        raise UserError(f"trainable_layers={trainable}: the backbone has {number} layers; give 0 to {number}")
    return replace(backbone, frozen_stages=number - trainable)


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
    head = replace(head, width=options.head_width or head.width, class_agnostic=options.class_agnostic)
    if not isinstance(head, ConvFCHeadConfig):
        if options.head == "4conv1fc":
            raise UserError(f"head='{options.head}': {name} has a head of its own; leave the option out")
        return head
    convs, fcs = {None: (head.convs, head.fcs), "2fc": (0, 2), "4conv1fc": (4, 1)}[options.head]
    if convs == 0:
        return replace(head, convs=0, fcs=fcs, norm=None)
    return replace(head, convs=convs, conv_channels=options.pyramid_channels, fcs=fcs, norm=_norm(options) or head.norm)


def _box_loss(preset: Preset, options: ModelOptions) -> BoxLossConfig:
    if options.box_loss == "smooth_l1":
        return preset.box_loss
    return IoULossConfig(kind=options.box_loss, weight=preset.iou_loss_weight)


def _rpn(family: Family, preset: Preset, options: ModelOptions, *, several: bool) -> RPNConfig:
    """As the preset has it on a pyramid; without one, there is but one level, and the family says how many boxes."""
    pyramid = not isinstance(family.pyramid, SingleScaleConfig)
    sizes = _anchor_sizes(preset.rpn_levels, options) if pyramid else (options.anchor_sizes or (64, 128, 256, 512),)
    return replace(
        preset.rpn,
        anchors=replace(preset.rpn.anchors, sizes=sizes, ratios=options.anchor_ratios),
        convs=options.rpn_convs or family.rpn_convs,
        channels=options.rpn_channels or family.rpn_channels,
        shared=preset.rpn.shared or not pyramid,
        **_proposals(family, preset, options, several),
    )


def _anchor_sizes(levels: int, options: ModelOptions) -> tuple[int | tuple[int, ...], ...]:
    sizes = options.anchor_sizes or (32, 64, 128, 256, 512)
    if len(sizes) > 5:
        raise UserError(f"anchor_sizes has {len(sizes)} entries; the pyramid has levels P2 to P6: give at most 5")
    return sizes if len(sizes) <= levels else (*sizes[: levels - 1], sizes[levels - 1 :])


def _proposals(family: Family, preset: Preset, options: ModelOptions, several: bool) -> dict[str, int]:
    """How many boxes enter NMS and leave it: by the user's number, the family's, or the preset's."""
    number = options.proposals
    if number is None:
        return family.proposals or ({"post_nms_train": preset.cascade_proposals} if several else {})
    into, kept = family.train_proposals
    return {
        "pre_nms_train": into * number,
        "pre_nms_test": family.test_proposals * number,
        "post_nms_train": kept * number,
        "post_nms_test": number,
    }


def _inference(preset: Preset, options: ModelOptions) -> InferenceConfig:
    return InferenceConfig(
        score_threshold=preset.score_threshold if options.score_threshold is None else options.score_threshold,
        nms_iou=options.nms_iou,
        max_detections=options.max_detections,
        stage=options.test_stage,
        ensemble=options.ensemble,
        ensemble_rois=options.ensemble_rois,
        survivors=options.survivors,
    )
