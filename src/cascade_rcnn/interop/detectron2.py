"""Convert detectron2's checkpoints, with or without a config file, and convert back to them."""

from pathlib import Path
from typing import Any

from cascade_rcnn.config import (
    AnchorConfig,
    BoxLossConfig,
    FPNConfig,
    InferenceConfig,
    IoULossConfig,
    MaskConfig,
    ModelConfig,
    PreprocessConfig,
    RoIAlignConfig,
    RPNConfig,
    SamplingConfig,
    SimplePyramidConfig,
    SmoothL1Config,
    StageConfig,
    replace,
)
from cascade_rcnn.config.presets import DETECTRON2
from cascade_rcnn.errors import UserError
from cascade_rcnn.interop import backbones, categories, detectron2_config, detectron2_settings, layout, lazy_config
from cascade_rcnn.interop.detectron2_config import STOCK, STOCK_CASCADE
from cascade_rcnn.interop.mmdet_files import Stock, nothing
from cascade_rcnn.interop.norms import detectron2_norm
from cascade_rcnn.interop.renaming import Names, State, relaid, rename
from cascade_rcnn.models.detector import Detector
from cascade_rcnn.text import count

_BODY: Names = (
    *((f"pyramid.lateral.{k}", f"backbone.fpn_lateral{k + 2}") for k in range(4)),
    *((f"pyramid.output.{k}", f"backbone.fpn_output{k + 2}") for k in range(4)),
    *((f"pyramid.lateral_norm.{k}", f"backbone.fpn_lateral{k + 2}.norm") for k in range(4)),
    *((f"pyramid.output_norm.{k}", f"backbone.fpn_output{k + 2}.norm") for k in range(4)),
    ("rpn.conv", "proposal_generator.rpn_head.conv"),
    ("rpn.conv.{}", "proposal_generator.rpn_head.conv.conv{}"),
    ("rpn.objectness", "proposal_generator.rpn_head.objectness_logits"),
    ("rpn.deltas", "proposal_generator.rpn_head.anchor_deltas"),
)
_CASCADE: Names = (
    ("roi_heads.heads.{}.fc{}", "roi_heads.box_head.{}.fc{}"),
    ("roi_heads.heads.{}.conv{}", "roi_heads.box_head.{}.conv{}"),
    ("roi_heads.heads.{}.bn{}", "roi_heads.box_head.{}.conv{}.norm"),
    ("roi_heads.heads.{}.classifier", "roi_heads.box_predictor.{}.cls_score"),
    ("roi_heads.heads.{}.regressor", "roi_heads.box_predictor.{}.bbox_pred"),
)
_SINGLE: Names = (
    ("roi_heads.heads.0.fc{}", "roi_heads.box_head.fc{}"),
    ("roi_heads.heads.0.conv{}", "roi_heads.box_head.conv{}"),
    ("roi_heads.heads.0.bn{}", "roi_heads.box_head.conv{}.norm"),
    ("roi_heads.heads.0.classifier", "roi_heads.box_predictor.cls_score"),
    ("roi_heads.heads.0.regressor", "roi_heads.box_predictor.bbox_pred"),
)
_MASKS: Names = (
    (f"{layout.MASK_HEADS}0.conv{{}}", "roi_heads.mask_head.mask_fcn{}"),
    (f"{layout.MASK_HEADS}0.bn{{}}", "roi_heads.mask_head.mask_fcn{}.norm"),
    (f"{layout.MASK_HEADS}0.deconv", "roi_heads.mask_head.deconv"),
    (f"{layout.MASK_HEADS}0.predictor", "roi_heads.mask_head.predictor"),
)
_LVIS = 1203
_FEDERATED = (
    "it was trained with a federated loss on a sample of the classes; training here treats all other classes of a box "
    "as negatives, which suits only images that are labelled for every class"
)
SIGN = r"(backbone\.bottom_up|proposal_generator)\."
NAMES: Names = (*_BODY, *_CASCADE, *_SINGLE, *_MASKS)
MASK = r"roi_heads\.(mask|keypoint)_"
_COMPUTED = (
    r"pixel_(mean|std)$|proposal_generator\.anchor_generator\.|.*\.(num_batches_tracked|relative_position_index)$"
)
IGNORED = rf"sem_seg_head\.|roi_heads\.keypoint_|{_COMPUTED}"


def read_settings(
    config: Path | None, meta: dict[str, Any], stock: Stock = nothing
) -> tuple[dict[str, Any] | None, list[str]]:
    """Return the settings of a config file (None without one) and notes on what is assumed."""
    if config is None:
        return None, ["no config given: preprocessing, thresholds and training settings are detectron2's defaults"]
    if config.suffix == ".py":
        settings, notes = lazy_config.read_config(config), []
    else:
        settings, notes = detectron2_config.read_config(config, stock)
    return settings, [*notes, *([_FEDERATED] if settings.get("MODEL.ROI_BOX_HEAD.USE_FED_LOSS") else [])]


def to_config(skeleton: ModelConfig, settings: dict[str, Any] | None) -> ModelConfig:
    """Complete the config inferred from tensor shapes with a config file's settings (None: detectron2's defaults)."""
    backbone = backbones.of_config("detectron2", skeleton.backbone)
    pyramid, head = layout.parts(skeleton)
    if settings is None and skeleton.num_classes == _LVIS:
        raise UserError(
            f"detectors of LVIS's {_LVIS} classes use softmax or sigmoid scores, and the tensors do not tell which; "
            "give the config it was trained with"
        )
    get: dict[str, Any] = STOCK | (STOCK_CASCADE if len(skeleton.stages) > 1 else {})
    get |= {**backbone.stock(skeleton.backbone), **(settings or {})}
    dataset = "coco" if settings is None else " ".join(get["DATASETS.TRAIN"])
    return replace(
        skeleton,
        categories=categories.of_dataset(dataset, skeleton.num_classes) or skeleton.categories,
        stages=_stages(len(skeleton.stages), get),
        semantics=DETECTRON2.semantics,
        preprocess=PreprocessConfig(
            min_size=_min_size(get),
            max_size=get["INPUT.MAX_SIZE_TEST"],
            mean=tuple(x / 255 for x in get["MODEL.PIXEL_MEAN"]),
            std=tuple(x / 255 for x in get["MODEL.PIXEL_STD"]),
            bgr=get["INPUT.FORMAT"] == "BGR",
            antialias=True,
            square=get["INPUT.SQUARE_PAD"] or None,
        ),
        backbone=backbone.complete(skeleton.backbone, get),
        pyramid=replace(pyramid, norm=detectron2_norm(get["MODEL.FPN.NORM"], pyramid.norm)),
        rpn=_rpn(skeleton, get),
        box_head=replace(head, norm=detectron2_norm(get["MODEL.ROI_BOX_HEAD.NORM"], head.norm)),
        box_loss=_box_loss(get, "MODEL.ROI_BOX_HEAD"),
        classification="sigmoid" if get["MODEL.ROI_BOX_HEAD.USE_SIGMOID_CE"] else "softmax",
        roi_align=RoIAlignConfig(
            resolution=skeleton.roi_align.resolution,
            sampling=get["MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO"],
            aligned=get["MODEL.ROI_BOX_HEAD.POOLER_TYPE"] == "ROIAlignV2",
        ),
        tasks=tuple(_masks(task, get) for task in skeleton.tasks),
        sampling=SamplingConfig(
            rois=get["MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE"],
            positive_fraction=get["MODEL.ROI_HEADS.POSITIVE_FRACTION"],
        ),
        inference=InferenceConfig(
            score_threshold=get["MODEL.ROI_HEADS.SCORE_THRESH_TEST"],
            nms_iou=get["MODEL.ROI_HEADS.NMS_THRESH_TEST"],
            max_detections=get["TEST.DETECTIONS_PER_IMAGE"],
        ),
    )


def _masks(task: MaskConfig, get: dict[str, Any]) -> MaskConfig:
    part = "MODEL.ROI_MASK_HEAD"
    return replace(
        task,
        weights=(float(get[f"{part}.LOSS_WEIGHT"]),),
        norm=detectron2_norm(get[f"{part}.NORM"], task.norm),
        roi_align=RoIAlignConfig(
            resolution=get[f"{part}.POOLER_RESOLUTION"],
            sampling=get[f"{part}.POOLER_SAMPLING_RATIO"],
            aligned=get[f"{part}.POOLER_TYPE"] == "ROIAlignV2",
        ),
    )


def _box_loss(get: dict[str, Any], part: str) -> BoxLossConfig:
    kind, weight = get[f"{part}.BBOX_REG_LOSS_TYPE"], float(get[f"{part}.BBOX_REG_LOSS_WEIGHT"])
    if kind == "smooth_l1":
        return SmoothL1Config(beta=float(get[f"{part}.SMOOTH_L1_BETA"]), weight=weight)
    return IoULossConfig(kind=kind, weight=weight)


def _min_size(get: dict[str, Any]) -> tuple[int, ...] | None:
    """Return the short sides for training and, last, for testing; None if images keep their size."""
    test, train = get["INPUT.MIN_SIZE_TEST"], get["INPUT.MIN_SIZE_TRAIN"]
    train = (train,) if isinstance(train, int) else tuple(train)
    if get["INPUT.MIN_SIZE_TRAIN_SAMPLING"] == "range":
        train = tuple(range(min(train), max(train) + 1))
    return None if test == 0 else (*(size for size in train if size != test), test)


def _stages(number: int, get: dict[str, Any]) -> tuple[StageConfig, ...]:
    if number == 1:
        ious, weights = get["MODEL.ROI_HEADS.IOU_THRESHOLDS"], [get["MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS"]]
    else:
        ious = get["MODEL.ROI_BOX_CASCADE_HEAD.IOUS"]
        weights = get["MODEL.ROI_BOX_CASCADE_HEAD.BBOX_REG_WEIGHTS"]
    if len(ious) != number or len(weights) != number:
        raise UserError(
            f"the checkpoint has {count(number, 'stage')}, but its config has {len(ious)}; give the config it was "
            "trained with"
        )
    stds = [(1 / x, 1 / y, 1 / w, 1 / h) for x, y, w, h in weights]
    return tuple(StageConfig(iou=u, std=std) for u, std in zip(ious, stds, strict=True))


def _rpn(skeleton: ModelConfig, get: dict[str, Any]) -> RPNConfig:
    sizes, ratios = (_by_level(get[f"MODEL.ANCHOR_GENERATOR.{name}"]) for name in ("SIZES", "ASPECT_RATIOS"))
    if any(level != ratios[0] for level in ratios):
        raise UserError("the config has anchor ratios that differ between levels; only the same ones can be converted")
    sizes = [[layout.anchor_size(size) for size in level] for level in sizes]
    if len(sizes) == 1:  # those of every level
        sizes = sizes * len(get["MODEL.RPN.IN_FEATURES"])
    negative, positive = get["MODEL.RPN.IOU_THRESHOLDS"]
    return replace(
        skeleton.rpn,
        anchors=AnchorConfig(
            sizes=tuple(level[0] if len(level) == 1 else tuple(level) for level in sizes),
            ratios=tuple(ratios[0]),
            offset=get["MODEL.ANCHOR_GENERATOR.OFFSET"],
        ),
        pre_nms_train=get["MODEL.RPN.PRE_NMS_TOPK_TRAIN"],
        pre_nms_test=get["MODEL.RPN.PRE_NMS_TOPK_TEST"],
        post_nms_train=get["MODEL.RPN.POST_NMS_TOPK_TRAIN"],
        post_nms_test=get["MODEL.RPN.POST_NMS_TOPK_TEST"],
        nms_iou=get["MODEL.RPN.NMS_THRESH"],
        min_size=get["MODEL.PROPOSAL_GENERATOR.MIN_SIZE"],
        samples=get["MODEL.RPN.BATCH_SIZE_PER_IMAGE"],
        positive_fraction=get["MODEL.RPN.POSITIVE_FRACTION"],
        positive_iou=positive,
        negative_iou=negative,
        box_loss=_box_loss(get, "MODEL.RPN"),
    )


def _by_level(values: list[Any]) -> list[list[Any]]:
    """Return the values of each level, or of all levels in a list of one; detectron2 also takes the latter alone."""
    return values if isinstance(values[0], list | tuple) else [values]


def convert(state: State, settings: dict[str, Any] | None) -> tuple[ModelConfig, State]:
    """Convert detectron2's state dict and settings to our config and state dict."""
    family, ours = layout.our_names("detectron2", state, NAMES, IGNORED, MASK)
    config = to_config(layout.skeleton(ours, family), settings)
    return config, layout.check(
        relaid(ours, config, {**layout.LAYOUT_IN, **family.peers["detectron2"].layout_in}), config
    )


def to_detectron2(model: Detector) -> State:
    """Return the model's tensors with detectron2's names and layout, for its `DetectionCheckpointer`.

    Raises UserError for a model that detectron2 does not have.
    """
    config = model.config
    fits = (
        isinstance(config.pyramid, FPNConfig | SimplePyramidConfig) and config.method == "cascade" and config.rpn.shared
    )
    if not (fits and backbones.converts("detectron2", config.backbone)):
        raise UserError(
            f"{config.name}: only Faster and Cascade R-CNN with a feature pyramid and an RPN shared by its levels can "
            "be converted to detectron2, not other architectures or models with the paper's semantics"
        )
    backbone = backbones.of_config("detectron2", config.backbone)
    rows = (*backbone.names, *_BODY, *(_CASCADE if len(model.config.stages) > 1 else _SINGLE), *_MASKS)
    state = relaid(model.state_dict(), model.config, {**layout.LAYOUT_OUT, **backbone.layout_out})
    state = {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    theirs = {name: rename(name, rows) for name in state}
    if missing := [name for name, other in theirs.items() if other is None]:
        raise UserError(f"{config.name}: detectron2 has no place for '{missing[0]}' ({len(missing)} such tensors)")
    return {str(theirs[name]): tensor for name, tensor in state.items()}


def config_for(config: ModelConfig, state: State) -> tuple[str | None, list[str]]:
    """Return detectron2's config.yaml for a model and its tensors from `to_detectron2`, with notes on what it lacks.

    The config is None if only a LazyConfig can describe the network.
    """
    settings = detectron2_settings.settings_of(config)
    back, _ = convert(state, settings or {})
    lost = ", ".join([*detectron2_settings.lost(config, back), *detectron2_settings.refused(config)])
    if settings is None:
        lacks = f"; its defaults differ in {lost}" if lost else ""
        return None, [f"detectron2 describes this network only in a LazyConfig, which has to be written by hand{lacks}"]
    notes = [f"detectron2 has no such settings, and therefore differs in {lost}"] if lost else []
    return detectron2_settings.to_yaml(settings), notes
