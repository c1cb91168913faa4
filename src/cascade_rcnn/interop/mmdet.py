"""Convert mmdetection's checkpoints (2.x and 3.x), with or without a config file."""

from pathlib import Path
from typing import Any

from cascade_rcnn.config import (
    AnchorConfig,
    BoxLossConfig,
    Category,
    InferenceConfig,
    IoULossConfig,
    MaskConfig,
    ModelConfig,
    PreprocessConfig,
    RoIAlignConfig,
    RPNConfig,
    SamplingConfig,
    SmoothL1Config,
    StageConfig,
    replace,
)
from cascade_rcnn.config.presets import MMDET
from cascade_rcnn.errors import UserError
from cascade_rcnn.interop import backbones, categories, layout
from cascade_rcnn.interop.mmdet_config import IOU_LOSSES, parse_config, proposals, read_config
from cascade_rcnn.interop.mmdet_files import Stock, nothing
from cascade_rcnn.interop.mmdet_pipeline import datasets, pipeline, scale
from cascade_rcnn.interop.norms import mmdet_norm
from cascade_rcnn.interop.python_config import Settings
from cascade_rcnn.interop.renaming import Names, State, relaid

SIGN = r"(neck\.lateral_convs|roi_head\.bbox_head|rpn_head)\."
_KINDS = (("conv", "conv"), ("bn", "bn"), ("bn", "gn"))  # our name and theirs, which depends on the kind of norm
_HEADS = (
    *((f"{ours}{k}", f"shared_convs.{k - 1}.{theirs}") for k in range(1, 9) for ours, theirs in _KINDS),
    *((f"fc{k}", f"shared_fcs.{k - 1}") for k in range(1, 5)),
    *(("classifier", "fc_cls"), ("regressor", "fc_reg")),
)
_MASKS = (
    *((f"{ours}{k}", f"convs.{k - 1}.{theirs}") for k in range(1, 9) for ours, theirs in _KINDS),
    *(("deconv", "upsample"), ("predictor", "conv_logits")),
)
NAMES: Names = (
    ("pyramid.lateral.{}", "neck.lateral_convs.{}.conv"),
    ("pyramid.output.{}", "neck.fpn_convs.{}.conv"),
    *(("pyramid.lateral_norm.{}", f"neck.lateral_convs.{{}}.{kind}") for kind in ("bn", "gn")),
    *(("pyramid.output_norm.{}", f"neck.fpn_convs.{{}}.{kind}") for kind in ("bn", "gn")),
    ("rpn.conv", "rpn_head.rpn_conv"),
    ("rpn.conv.{}", "rpn_head.rpn_conv.{}.conv"),
    ("rpn.objectness", "rpn_head.rpn_cls"),
    ("rpn.deltas", "rpn_head.rpn_reg"),
    *((f"roi_heads.heads.{{}}.{ours}", f"roi_head.bbox_head.{{}}.{theirs}") for ours, theirs in _HEADS),
    *((f"roi_heads.heads.0.{ours}", f"roi_head.bbox_head.{theirs}") for ours, theirs in _HEADS),
    *((f"{layout.MASK_HEADS}{{}}.{ours}", f"roi_head.mask_head.{{}}.{theirs}") for ours, theirs in _MASKS),
    *((f"{layout.MASK_HEADS}0.{ours}", f"roi_head.mask_head.{theirs}") for ours, theirs in _MASKS),
)
MASK = r"roi_head\.mask_"
VERSION_1 = r"bbox_head\.(\d+\.)?fc_cls\."
# `ema_...`: what version 2's EMA hook keeps in the model, which testing does not use
IGNORED = r".*\.(num_batches_tracked|relative_position_index)$|data_preprocessor\.|ema_"


def read_settings(
    config: Path | None, meta: dict[str, Any], stock: Stock = nothing
) -> tuple[Settings | None, list[str]]:
    """Return the settings of a config file, else of the checkpoint, else None, with notes on what is assumed.

    The names of the classes are the checkpoint's, if it has them.
    """
    text = meta.get("cfg", meta.get("config"))
    if config is not None:
        settings, notes = read_config(config, stock)
    elif isinstance(text, str):
        settings = parse_config(text, "the config in the checkpoint")
        notes = ["settings are those in the checkpoint", *settings.notes]
    else:
        notes = ["no config given: preprocessing, thresholds and training settings are mmdet's defaults"]
        settings = Settings({})
    dataset = meta.get("dataset_meta", meta)
    names = dataset.get("classes", dataset.get("CLASSES")) if isinstance(dataset, dict) else None
    if isinstance(names, list | tuple) and all(isinstance(name, str) for name in names):
        settings.tree["classes"] = list(names)
    return settings if settings.tree else None, notes


def to_config(skeleton: ModelConfig, settings: Settings | None) -> ModelConfig:
    """Complete the config inferred from tensor shapes with a config (None: the defaults of mmdet's 1x schedules)."""
    get = settings or Settings({})
    backbone = backbones.of_config("mmdet", skeleton.backbone)
    pyramid, box_head = layout.parts(skeleton)
    cascade = len(skeleton.stages) > 1
    head = Settings(_first(get, "bbox_head"))
    layer = Settings(_first(get, "bbox_roi_extractor").get("roi_layer", {}))
    return replace(
        skeleton,
        categories=_categories(skeleton, settings),
        stages=tuple(_stage(t, len(skeleton.stages), get) for t in range(len(skeleton.stages))),
        semantics=MMDET.semantics,
        preprocess=_preprocess(get),
        backbone=backbone.complete(skeleton.backbone, get),
        pyramid=replace(pyramid, norm=mmdet_norm(pyramid.norm, get("model.neck.norm_cfg"))),
        rpn=_rpn(skeleton.rpn, get, cascade=cascade),
        box_head=replace(box_head, norm=mmdet_norm(box_head.norm, head("norm_cfg"))),
        box_loss=_box_loss(head("loss_bbox"), 1.0 if cascade else 0.0),
        roi_align=RoIAlignConfig(
            resolution=skeleton.roi_align.resolution,
            sampling=layer("sampling_ratio", 0),
            aligned=layer("aligned", True),
        ),
        tasks=tuple(_masks(task, get) for task in skeleton.tasks),
        sampling=SamplingConfig(
            rois=_rcnn(get, 0, "sampler.num", 512),
            positive_fraction=_rcnn(get, 0, "sampler.pos_fraction", 0.25),
        ),
        inference=InferenceConfig(
            score_threshold=get("model.test_cfg.rcnn.score_thr", 0.05),
            nms_iou=get("model.test_cfg.rcnn.nms.iou_threshold", get("model.test_cfg.rcnn.nms.iou_thr", 0.5)),
            agnostic_nms=bool(get("model.test_cfg.rcnn.nms.class_agnostic", False)),
            max_detections=get("model.test_cfg.rcnn.max_per_img", 100),
        ),
    )


_STDS = ((0.1, 0.1, 0.2, 0.2), (0.05, 0.05, 0.1, 0.1), (0.033, 0.033, 0.067, 0.067))


_NAMED = ("classes", "CLASSES")
_ANCHORS_BY_BORDER = {0: "inside", -1: "centre-inside"}  # by allowed_border


def _categories(skeleton: ModelConfig, settings: Settings | None) -> tuple[Category, ...]:
    """Return the classes named in the checkpoint or config, else those of its dataset type."""
    if settings is None:
        return categories.of_dataset("coco", skeleton.num_classes) or skeleton.categories
    parts = datasets(settings, "train_dataloader.dataset", "data.train", "test_dataloader.dataset", "data.test")
    nested = (place for part in (settings.tree, *parts) for place in (part.get("metainfo"), part))
    named = (place.get(key) for place in (settings.tree, *nested) if isinstance(place, dict) for key in _NAMED)
    names = next((found for found in named if isinstance(found, list)), None)
    if names:  # else, those of COCO or VOC
        return categories.named(names) if len(names) == skeleton.num_classes else skeleton.categories
    return categories.of_dataset(str(settings("dataset_type")), skeleton.num_classes) or skeleton.categories


def _rcnn(get: Settings, t: int, key: str, default: Any) -> Any:
    """Return a training setting of stage t: train_cfg.rcnn is a list with several stages, a dict with one."""
    return get(f"model.train_cfg.rcnn.{t}.{key}", get(f"model.train_cfg.rcnn.{key}", default))


def _stage(t: int, number: int, get: Settings) -> StageConfig:
    if number > len(_STDS) and get("model") is None:
        raise UserError(
            f"the checkpoint has {number} stages, but mmdet's stock models have three; give its config with --config"
        )
    coder = get(f"model.roi_head.bbox_head.{t}.bbox_coder", get("model.roi_head.bbox_head.bbox_coder")) or {}
    stock = not get("model.roi_head.bbox_head")
    missing = (1.0,) * 4 if coder else _STDS[min(t, 2) if stock else 0]  # of the coder's, the stock or the head's class
    return StageConfig(
        iou=_rcnn(get, t, "assigner.pos_iou_thr", 0.5 + 0.1 * t),
        std=tuple(coder.get("target_stds", missing)),
        mean=tuple(coder.get("target_means", (0.0,) * 4)),
        loss_weight=float(get(f"model.roi_head.stage_loss_weights.{t}", 0.5**t)),
    )


def _masks(task: MaskConfig, get: Settings) -> MaskConfig:
    """Convert the mask heads, which are all alike; without a mask RoI extractor, they use that of the boxes."""
    head, boxes = _first(get, "mask_head"), _first(get, "bbox_roi_extractor")
    layer = Settings((_first(get, "mask_roi_extractor") or boxes).get("roi_layer", {}))
    share = Settings(head)("loss_mask.loss_weight", 1.0)
    weights = get("model.roi_head.stage_loss_weights", [0.5**t for t in range(len(task.stages))])
    return replace(
        task,
        weights=tuple(share * w for w in weights) if len(task.stages) > 1 else (share,),
        norm=mmdet_norm(task.norm, head.get("norm_cfg")),
        roi_align=RoIAlignConfig(
            resolution=layer("output_size", 14),
            sampling=layer("sampling_ratio", 0),
            aligned=layer("aligned", True),
        ),
    )


def _first(get: Settings, part: str) -> dict[str, Any]:
    """Return the settings of a part of the RoI head, the first stage's if each has its own; empty if there are none."""
    found = get(f"model.roi_head.{part}.0", get(f"model.roi_head.{part}", {}))
    return found if isinstance(found, dict) else {}


def _box_loss(loss: dict[str, Any] | None, default: float) -> BoxLossConfig:
    """Convert a loss_bbox: L1, smooth L1 (with beta `default` if there is no loss_bbox), or a loss on decoded boxes."""
    if loss is None:
        return SmoothL1Config(beta=default)
    weight, kind = float(loss.get("loss_weight", 1.0)), loss.get("type")
    if kind == "L1Loss":
        return SmoothL1Config(weight=weight)
    if kind == "SmoothL1Loss":
        return SmoothL1Config(beta=float(loss.get("beta", 1.0)), weight=weight)
    if kind in IOU_LOSSES and loss.get("beta", 0.2) == 0.2:
        return IoULossConfig(kind=IOU_LOSSES[kind], weight=weight)
    known = f"L1Loss, SmoothL1Loss and {', '.join(IOU_LOSSES)}"
    raise UserError(f"the config's box loss is {loss}; only {known} can be converted")


def _preprocess(get: Settings) -> PreprocessConfig:
    """Convert `model.data_preprocessor` (3.x), or the pipeline's Normalize or `img_norm_cfg` (2.x), and Resize.

    What they leave out has the defaults of their classes: 3.x neither changes the order BGR nor normalises.
    """
    normalize = next((step for step in pipeline(get) if step.get("type") == "Normalize" and "mean" in step), None)
    mean: Any
    std: Any
    if (norm := get("model.data_preprocessor")) is not None:  # 3.x
        rgb, mean, std = norm.get("bgr_to_rgb", False), norm.get("mean") or (0.0,) * 3, norm.get("std") or (1.0,) * 3
    else:
        norm = normalize or get("img_norm_cfg", {})
        rgb = norm.get("to_rgb", True)
        mean, std = norm.get("mean", (123.675, 116.28, 103.53)), norm.get("std", (58.395, 57.12, 57.375))
    sides = scale(get)
    return PreprocessConfig(
        min_size=(min(sides),),
        max_size=max(sides),
        mean=tuple(x / 255 for x in mean),
        std=tuple(x / 255 for x in std),
        bgr=not rgb,
    )


def _rpn(rpn: RPNConfig, get: Settings, *, cascade: bool) -> RPNConfig:
    generator = get("model.rpn_head.anchor_generator", {})
    scales, strides = generator.get("scales", [8]), generator.get("strides", [4, 8, 16, 32, 64])
    if len(scales) != 1:
        raise UserError(f"the config has {len(scales)} anchor scales per level; only one can be converted")
    train, test = (proposals(get, part) for part in ("train_cfg.rpn_proposal", "test_cfg.rpn"))
    return replace(
        rpn,
        anchors=AnchorConfig(
            sizes=tuple(layout.anchor_size(scales[0] * s) for s in strides),
            ratios=tuple(generator.get("ratios", (0.5, 1, 2))),
            offset=generator.get("center_offset", 0.0),
        ),
        pre_nms_train=_or(train["pre_nms"], 2000),
        pre_nms_test=_or(test["pre_nms"], 1000),
        post_nms_train=_or(train["post_nms"], 2000 if cascade else 1000),
        post_nms_test=_or(test["post_nms"], 1000),
        nms_iou=_or(test["nms_iou"], 0.7),
        min_size=_or(test["min_size"], 0),
        samples=get("model.train_cfg.rpn.sampler.num", 256),
        positive_fraction=get("model.train_cfg.rpn.sampler.pos_fraction", 0.5),
        positive_iou=get("model.train_cfg.rpn.assigner.pos_iou_thr", 0.7),
        negative_iou=get("model.train_cfg.rpn.assigner.neg_iou_thr", 0.3),
        low_quality_iou=get("model.train_cfg.rpn.assigner.min_pos_iou", 0.3),
        low_quality_reassigns=MMDET.rpn.low_quality_reassigns,
        trained_anchors=_ANCHORS_BY_BORDER[get("model.train_cfg.rpn.allowed_border", 0 if cascade else -1)],
        box_loss=_box_loss(get("model.rpn_head.loss_bbox"), 1 / 9 if cascade else 0.0),
    )


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value


def convert(state: State, settings: Settings | None) -> tuple[ModelConfig, State]:
    """Convert mmdet's state dict and settings to our config and state dict."""
    family, ours = layout.our_names("mmdet", state, NAMES, IGNORED, MASK)
    config = to_config(layout.skeleton(ours, family), settings)
    changes = {**layout.LAYOUT_IN, **family.peers["mmdet"].layout_in}
    return config, layout.check(relaid(ours, config, changes), config)
