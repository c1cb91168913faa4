"""Write detectron2's config.yaml for a detector that is converted to it; `detectron2_config` reads such files."""

import math
from collections.abc import Iterator
from typing import Any

import msgspec
import yaml

from cascade_rcnn.config import (
    BoxLossConfig,
    DeformableConfig,
    FPNConfig,
    MaskConfig,
    ModelConfig,
    NormConfig,
    PreprocessConfig,
    ResNetConfig,
    RoIAlignConfig,
    RPNConfig,
    SmoothL1Config,
)
from cascade_rcnn.interop import layout
from cascade_rcnn.interop.detectron2_config import LOSSES, STOCK

WRITTEN = "# Written by cascade-rcnn, for the weights of the same name\n"
_NORMS = {"frozen": "FrozenBN", "affine": "FrozenBN", "batch": "BN", "group": "GN", "layer": "LN"}
_LEVELS = ("res2", "res3", "res4", "res5")
# What a config for detectron2 does not describe (names), or what does not affect results.
_ELSEWHERE = ("name", "categories", "semantics.name", "backbone.drop_path", "backbone.checkpointing")
_ROUNDING = ".folded"  # whether a fixed normalisation is computed in the convolution


def settings_of(config: ModelConfig) -> dict[str, Any] | None:
    """Return detectron2's settings, such as {"MODEL.RPN.NMS_THRESH": 0.7}, from which it builds the same network.

    None if its yaml configs cannot describe the backbone or pyramid, which only its LazyConfigs can.
    """
    if not isinstance(config.backbone, ResNetConfig) or not isinstance(config.pyramid, FPNConfig):
        return None
    settings = {
        "MODEL.META_ARCHITECTURE": "GeneralizedRCNN",
        "MODEL.BACKBONE.NAME": "build_resnet_fpn_backbone",
        "MODEL.BACKBONE.FREEZE_AT": config.backbone.frozen_stages,
        **_preprocess(config.preprocess),
        **_resnet(config.backbone),
        "MODEL.FPN.IN_FEATURES": list(_LEVELS),
        "MODEL.FPN.OUT_CHANNELS": config.pyramid.channels,
        "MODEL.FPN.NORM": _norm(config.pyramid.norm),
        **_rpn(config.rpn),
        **_heads(config),
        **(_masks(config.tasks[0]) if config.tasks else {"MODEL.MASK_ON": False}),
        "TEST.DETECTIONS_PER_IMAGE": config.inference.max_detections,
        "VERSION": 2,
    }
    return {name: _typed(value, STOCK.get(name)) for name, value in settings.items()}


def _typed(value: Any, stock: Any) -> Any:
    """Return a number with the type of the default, on which detectron2 insists."""
    return type(stock)(value) if isinstance(stock, int | float) else value


def to_yaml(settings: dict[str, Any]) -> str:
    """Return the settings as a config.yaml, nested as detectron2 expects them."""
    tree: dict[str, Any] = {}
    for name, value in settings.items():
        *parts, last = name.split(".")
        place = tree
        for part in parts:
            place = place.setdefault(part, {})
        place[last] = value
    return WRITTEN + yaml.safe_dump(tree, sort_keys=False, default_flow_style=None)


def lost(config: ModelConfig, back: ModelConfig) -> list[str]:
    """Return the names of settings that differ in `back`, the config that detectron2's settings convert back to."""
    ours, theirs = (msgspec.to_builtins(one) for one in (config, back))
    names = dict.fromkeys(_differing(ours, theirs))
    return [name for name in names if name not in _ELSEWHERE and not name.endswith(_ROUNDING)]


def refused(config: ModelConfig) -> Iterator[str]:
    """Yield the names of settings that detectron2 can write down, but not build or train."""
    for name, loss in (("rpn.box_loss", config.rpn.box_loss), ("box_loss", config.box_loss)):
        if not isinstance(loss, SmoothL1Config) and loss.kind not in LOSSES:
            yield f"{name} ({loss.kind})"
    if len(config.stages) > 1 and not layout.parts(config)[1].class_agnostic:
        yield "box_head.class_agnostic (it builds only cascades whose classes share their boxes)"


def _differing(ours: Any, theirs: Any, name: str = "") -> Iterator[str]:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in {**ours, **theirs}:
            yield from _differing(ours.get(key), theirs.get(key), f"{name}.{key}" if name else key)
    elif isinstance(ours, list | tuple) and isinstance(theirs, list | tuple) and len(ours) == len(theirs):
        for one, other in zip(ours, theirs, strict=True):
            yield from _differing(one, other, name)
    elif not _equal(ours, theirs):
        yield name


def _equal(one: Any, other: Any) -> bool:
    numbers = all(isinstance(x, int | float) for x in (one, other))
    return math.isclose(one, other, rel_tol=1e-6) if numbers else one == other


def _preprocess(config: PreprocessConfig) -> dict[str, Any]:
    sides = list(config.min_size or [0])  # 0: no resizing
    mean, std = ([round(255 * x, 6) for x in values] for values in (config.mean, config.std))
    return {
        "INPUT.FORMAT": "BGR" if config.bgr else "RGB",
        "INPUT.MIN_SIZE_TRAIN": sides,
        "INPUT.MIN_SIZE_TEST": sides[-1],
        "INPUT.MAX_SIZE_TRAIN": config.max_size,
        "INPUT.MAX_SIZE_TEST": config.max_size,
        "MODEL.PIXEL_MEAN": mean,
        "MODEL.PIXEL_STD": std,
    }


def _resnet(config: ResNetConfig) -> dict[str, Any]:
    offsets, part = config.deformable or DeformableConfig(layers=()), "MODEL.RESNETS"
    return {
        f"{part}.DEPTH": config.depth,
        f"{part}.OUT_FEATURES": list(_LEVELS),
        f"{part}.NORM": _norm(config.norm),
        f"{part}.STEM_OUT_CHANNELS": config.stem,
        f"{part}.RES2_OUT_CHANNELS": config.planes * (1 if config.depth < 50 else 4),
        f"{part}.NUM_GROUPS": config.groups,
        f"{part}.WIDTH_PER_GROUP": config.width_per_group * config.planes // 64,
        f"{part}.STRIDE_IN_1X1": config.stride_in_1x1,
        f"{part}.DEFORM_ON_PER_STAGE": [layer in offsets.layers for layer in (1, 2, 3, 4)],
        f"{part}.DEFORM_MODULATED": offsets.modulated,
        f"{part}.DEFORM_NUM_GROUPS": offsets.groups,
    }


def _rpn(config: RPNConfig) -> dict[str, Any]:
    part = "MODEL.RPN"
    return {
        "MODEL.ANCHOR_GENERATOR.SIZES": [list(sizes) for sizes in config.anchors.levels],
        "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": [list(config.anchors.ratios)],
        "MODEL.ANCHOR_GENERATOR.OFFSET": config.anchors.offset,
        "MODEL.PROPOSAL_GENERATOR.MIN_SIZE": config.min_size,
        f"{part}.IN_FEATURES": [f"p{level}" for level in range(2, 2 + len(config.anchors.levels))],
        f"{part}.CONV_DIMS": [-1 if config.channels is None else config.channels] * config.convs,
        f"{part}.PRE_NMS_TOPK_TRAIN": config.pre_nms_train,
        f"{part}.PRE_NMS_TOPK_TEST": config.pre_nms_test,
        f"{part}.POST_NMS_TOPK_TRAIN": config.post_nms_train,
        f"{part}.POST_NMS_TOPK_TEST": config.post_nms_test,
        f"{part}.NMS_THRESH": config.nms_iou,
        f"{part}.BATCH_SIZE_PER_IMAGE": config.samples,
        f"{part}.POSITIVE_FRACTION": config.positive_fraction,
        f"{part}.IOU_THRESHOLDS": [config.negative_iou, config.positive_iou],
        **_box_loss(config.box_loss, part),
    }


def _heads(config: ModelConfig) -> dict[str, Any]:
    _, head = layout.parts(config)
    part, cascade = "MODEL.ROI_BOX_HEAD", len(config.stages) > 1
    weights = [[1 / x for x in stage.std] for stage in config.stages]
    stages: dict[str, Any] = {f"{part}.BBOX_REG_WEIGHTS": weights[0]}
    if cascade:
        stages["MODEL.ROI_BOX_CASCADE_HEAD.BBOX_REG_WEIGHTS"] = weights
        stages["MODEL.ROI_BOX_CASCADE_HEAD.IOUS"] = [stage.iou for stage in config.stages]
    return {
        "MODEL.ROI_HEADS.NAME": "CascadeROIHeads" if cascade else "StandardROIHeads",
        "MODEL.ROI_HEADS.IN_FEATURES": [f"p{level}" for level in range(2, 6)],
        "MODEL.ROI_HEADS.NUM_CLASSES": config.num_classes,
        "MODEL.ROI_HEADS.IOU_THRESHOLDS": [config.stages[0].iou],
        "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": config.sampling.rois,
        "MODEL.ROI_HEADS.POSITIVE_FRACTION": config.sampling.positive_fraction,
        "MODEL.ROI_HEADS.SCORE_THRESH_TEST": config.inference.score_threshold,
        "MODEL.ROI_HEADS.NMS_THRESH_TEST": config.inference.nms_iou,
        **stages,
        f"{part}.NAME": "FastRCNNConvFCHead",
        f"{part}.NUM_CONV": head.convs,
        f"{part}.CONV_DIM": head.conv_channels,
        f"{part}.NUM_FC": head.fcs,
        f"{part}.FC_DIM": head.width,
        f"{part}.NORM": _norm(head.norm),
        f"{part}.CLS_AGNOSTIC_BBOX_REG": head.class_agnostic,
        f"{part}.USE_SIGMOID_CE": config.classification == "sigmoid",
        **_pooler(config.roi_align, part),
        **_box_loss(config.box_loss, part),
    }


def _masks(config: MaskConfig) -> dict[str, Any]:
    part = "MODEL.ROI_MASK_HEAD"
    return {
        "MODEL.MASK_ON": True,
        f"{part}.NAME": "MaskRCNNConvUpsampleHead",
        f"{part}.NUM_CONV": config.convs,
        f"{part}.CONV_DIM": config.channels,
        f"{part}.NORM": _norm(config.norm),
        f"{part}.CLS_AGNOSTIC_MASK": config.class_agnostic,
        **_pooler(config.roi_align, part),
    }


def _pooler(config: RoIAlignConfig, part: str) -> dict[str, Any]:
    return {
        f"{part}.POOLER_RESOLUTION": config.resolution,
        f"{part}.POOLER_SAMPLING_RATIO": config.sampling,
        f"{part}.POOLER_TYPE": "ROIAlignV2" if config.aligned else "ROIAlign",
    }


def _box_loss(config: BoxLossConfig, part: str) -> dict[str, Any]:
    if isinstance(config, SmoothL1Config):
        kind: dict[str, Any] = {"LOSS_TYPE": "smooth_l1", "LOSS_WEIGHT": config.weight}
        return {f"{part}.SMOOTH_L1_BETA": config.beta, **{f"{part}.BBOX_REG_{k}": v for k, v in kind.items()}}
    return {f"{part}.BBOX_REG_LOSS_TYPE": config.kind, f"{part}.BBOX_REG_LOSS_WEIGHT": config.weight}


def _norm(config: NormConfig | None) -> str:
    return "" if config is None else _NORMS[config.kind]
