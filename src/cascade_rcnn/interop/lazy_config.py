"""Read detectron2's LazyConfigs: settings to use, settings that must have a certain value, and settings to ignore.

Settings are renamed as in a config.yaml, so that one converter handles both. Only those of the network below the
pyramid keep their names: "model.backbone.net.embed_dim".
"""

from pathlib import Path
from typing import Any

from cascade_rcnn.errors import UserError
from cascade_rcnn.interop import lazy_files
from cascade_rcnn.interop.backbones import lazy_type
from cascade_rcnn.interop.detectron2_config import FORMATS
from cascade_rcnn.interop.known import Known, leaves
from cascade_rcnn.interop.python_config import Settings

_RPN, _HEADS = "proposal_generator", "roi_heads"
_CASCADE, _SINGLE = "CascadeROIHeads", "StandardROIHeads"
_BODIES = ("bottom_up", "net")  # the network below an FPN, and below a SimpleFeaturePyramid
# Settings that differ from those of a config.yaml only in name
_NAMES: dict[str, str] = {
    "pixel_mean": "MODEL.PIXEL_MEAN",
    "pixel_std": "MODEL.PIXEL_STD",
    "input_format": "INPUT.FORMAT",
    "backbone.norm": "MODEL.FPN.NORM",
    "backbone.square_pad": "INPUT.SQUARE_PAD",
    f"{_RPN}.anchor_generator.sizes": "MODEL.ANCHOR_GENERATOR.SIZES",
    f"{_RPN}.anchor_generator.offset": "MODEL.ANCHOR_GENERATOR.OFFSET",
    f"{_RPN}.anchor_matcher.thresholds": "MODEL.RPN.IOU_THRESHOLDS",
    f"{_RPN}.batch_size_per_image": "MODEL.RPN.BATCH_SIZE_PER_IMAGE",
    f"{_RPN}.positive_fraction": "MODEL.RPN.POSITIVE_FRACTION",
    f"{_RPN}.nms_thresh": "MODEL.RPN.NMS_THRESH",
    f"{_RPN}.min_box_size": "MODEL.PROPOSAL_GENERATOR.MIN_SIZE",
    f"{_RPN}.box_reg_loss_type": "MODEL.RPN.BBOX_REG_LOSS_TYPE",
    f"{_RPN}.smooth_l1_beta": "MODEL.RPN.SMOOTH_L1_BETA",
    f"{_HEADS}.batch_size_per_image": "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE",
    f"{_HEADS}.positive_fraction": "MODEL.ROI_HEADS.POSITIVE_FRACTION",
    f"{_HEADS}.box_pooler.pooler_type": "MODEL.ROI_BOX_HEAD.POOLER_TYPE",
    f"{_HEADS}.box_pooler.sampling_ratio": "MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO",
    f"{_HEADS}.box_head.conv_norm": "MODEL.ROI_BOX_HEAD.NORM",
    f"{_HEADS}.mask_pooler.output_size": "MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION",
    f"{_HEADS}.mask_pooler.pooler_type": "MODEL.ROI_MASK_HEAD.POOLER_TYPE",
    f"{_HEADS}.mask_pooler.sampling_ratio": "MODEL.ROI_MASK_HEAD.POOLER_SAMPLING_RATIO",
    f"{_HEADS}.mask_head.conv_norm": "MODEL.ROI_MASK_HEAD.NORM",
    f"{_HEADS}.mask_head.loss_weight": "MODEL.ROI_MASK_HEAD.LOSS_WEIGHT",
    f"{_HEADS}.box_predictor.test_score_thresh": "MODEL.ROI_HEADS.SCORE_THRESH_TEST",
    f"{_HEADS}.box_predictor.test_nms_thresh": "MODEL.ROI_HEADS.NMS_THRESH_TEST",
    f"{_HEADS}.box_predictor.test_topk_per_image": "TEST.DETECTIONS_PER_IMAGE",
    f"{_HEADS}.box_predictor.box_reg_loss_type": "MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_TYPE",
    f"{_HEADS}.box_predictor.smooth_l1_beta": "MODEL.ROI_BOX_HEAD.SMOOTH_L1_BETA",
    f"{_HEADS}.box_predictor.use_sigmoid_ce": "MODEL.ROI_BOX_HEAD.USE_SIGMOID_CE",
    f"{_HEADS}.box_predictor.use_fed_loss": "MODEL.ROI_BOX_HEAD.USE_FED_LOSS",
}
# Defaults of the classes that differ from those of a config.yaml
_DEFAULTS: dict[str, Any] = {
    "MODEL.FPN.NORM": "",
    "MODEL.ANCHOR_GENERATOR.OFFSET": 0.5,
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.0,
}
_LEVELS = ["p2", "p3", "p4", "p5", "p6"]
_NORMS = ("", "FrozenBN", "BN", "SyncBN", "nnSyncBN", "naiveSyncBN", "GN", "LN")
_LOSSES = ("smooth_l1", "giou", "diou", "ciou")
_REQUIRED: dict[str, tuple[Any, ...]] = {
    "_target_": ("GeneralizedRCNN",),
    "input_format": FORMATS,
    "backbone._target_": ("FPN", "SimpleFeaturePyramid"),
    "backbone.norm": _NORMS,
    "backbone.fuse_type": ("sum",),
    "backbone.scale_factors": ([4.0, 2.0, 1.0, 0.5],),
    "backbone.top_block._target_": ("LastLevelMaxPool",),
    f"{_RPN}._target_": ("RPN",),
    f"{_RPN}.in_features": (_LEVELS,),
    f"{_RPN}.head._target_": ("StandardRPNHead",),
    f"{_RPN}.anchor_generator._target_": ("DefaultAnchorGenerator",),
    f"{_RPN}.anchor_generator.strides": ([4, 8, 16, 32, 64],),
    f"{_RPN}.anchor_matcher._target_": ("Matcher",),
    f"{_RPN}.anchor_matcher.labels": ([0, -1, 1],),
    f"{_RPN}.anchor_matcher.allow_low_quality_matches": (True,),
    f"{_RPN}.anchor_boundary_thresh": (-1, -1.0),
    f"{_RPN}.box2box_transform._target_": ("Box2BoxTransform",),
    f"{_RPN}.box2box_transform.weights": ([1.0, 1.0, 1.0, 1.0],),
    f"{_RPN}.box_reg_loss_type": _LOSSES,
    f"{_RPN}.loss_weight": (1.0,),
    f"{_HEADS}._target_": (_CASCADE, _SINGLE),
    f"{_HEADS}.box_in_features": (_LEVELS[:4],),
    f"{_HEADS}.proposal_append_gt": (True,),
    f"{_HEADS}.train_on_pred_boxes": (False,),
    f"{_HEADS}.box_pooler._target_": ("ROIPooler",),
    f"{_HEADS}.box_pooler.scales": ([1 / 4, 1 / 8, 1 / 16, 1 / 32],),
    f"{_HEADS}.box_pooler.pooler_type": ("ROIAlignV2", "ROIAlign"),
    f"{_HEADS}.box_pooler.canonical_box_size": (224,),
    f"{_HEADS}.box_pooler.canonical_level": (4,),
    f"{_HEADS}.box_head._target_": ("FastRCNNConvFCHead",),
    f"{_HEADS}.box_head.conv_norm": _NORMS,
    f"{_HEADS}.mask_in_features": (_LEVELS[:4],),
    f"{_HEADS}.mask_pooler._target_": ("ROIPooler",),
    f"{_HEADS}.mask_pooler.scales": ([1 / 4, 1 / 8, 1 / 16, 1 / 32],),
    f"{_HEADS}.mask_pooler.pooler_type": ("ROIAlignV2", "ROIAlign"),
    f"{_HEADS}.mask_pooler.canonical_box_size": (224,),
    f"{_HEADS}.mask_pooler.canonical_level": (4,),
    f"{_HEADS}.mask_head.conv_norm": _NORMS,
    f"{_HEADS}.box_predictor._target_": ("FastRCNNOutputLayers",),
    f"{_HEADS}.box_predictor.box2box_transform._target_": ("Box2BoxTransform",),
    f"{_HEADS}.box_predictor.box_reg_loss_type": _LOSSES,
    f"{_HEADS}.box_predictor.loss_weight": (1.0,),
    f"{_HEADS}.box_predictor.use_sigmoid_ce": (False, True),
    f"{_HEADS}.box_predictor.use_fed_loss": (False, True),
    f"{_HEADS}.proposal_matcher._target_": ("Matcher",),
    f"{_HEADS}.proposal_matcher.labels": ([0, 1],),
    f"{_HEADS}.proposal_matcher.allow_low_quality_matches": (False,),
}
_KNOWN = Known(
    read={
        *_NAMES,
        *(f"{_RPN}.anchor_generator.aspect_ratios", f"{_RPN}.pre_nms_topk", f"{_RPN}.post_nms_topk"),
        *(f"{_HEADS}.proposal_matcher.thresholds", f"{_HEADS}.box_predictor.box2box_transform.weights"),
    },
    required=_REQUIRED,
    inert="|".join(
        (
            r"vis_period$|backbone\.(in_features?|out_channels)$",  # inferred from shapes
            rf"{_RPN}\.head\.(in_channels|num_anchors|conv_dims|box_dim)$",
            rf"{_HEADS}\.(num_classes$|mask_head\.|keypoint_)",  # inferred from shapes, or not converted
            rf"{_HEADS}\.box_pooler\.output_size$|{_HEADS}\.box_head\.(input_shape\.|conv_dims$|fc_dims$)",
            rf"{_HEADS}\.box_predictor\.(input_shape\.|num_classes$|cls_agnostic_bbox_reg$)",
            rf"{_HEADS}\.box_predictor\.(get_fed_loss_cls_weights\b|fed_loss_num_classes$)",  # unused without fed loss
        )
    ),
)


def read_config(path: Path) -> dict[str, Any]:
    """Read a LazyConfig and its bases as {"MODEL.RPN.NMS_THRESH": 0.7, ...}. Raises UserError if it is unsuitable."""
    values = lazy_files.read(path)
    model = values.get("model")
    if not isinstance(model, dict):
        raise UserError(f"{path}: has no `model`; give the LazyConfig of a detector")
    backbone = model.get("backbone")
    body = next((name for name in _BODIES if isinstance(backbone, dict) and name in backbone), _BODIES[0])
    rest = {**model, "backbone": {k: v for k, v in (backbone or {}).items() if k != body}}
    flat = [(name, _plain(name, value)) for name, value in leaves(_singular(rest))]
    _KNOWN.check(flat, str(path), "model.")
    try:
        own = _checked_body(backbone[body] if backbone and body in backbone else {}, f"model.backbone.{body}.")
        found = _DEFAULTS | {_NAMES[name]: value for name, value in flat if name in _NAMES and value is not None}
        return {**found, **_rpn(Settings(model)), **_stages(model), **own, **_data(Settings(values))}
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _checked_body(body: Any, prefix: str) -> dict[str, Any]:
    """Return the settings of the network below the pyramid, with their original names."""
    flat = [(name, _plain(name, value)) for name, value in leaves(body)]
    kind = dict(flat).get("_target_")
    known = lazy_type(str(kind), f"{prefix}_target_").known
    try:
        known.check([(name, value) for name, value in flat if name != "_target_"], "", prefix)
    except UserError as error:
        raise UserError(str(error).removeprefix(": ")) from None
    return {prefix + name: value for name, value in flat}


_PLURAL = {"box_heads": "box_head", "box_predictors": "box_predictor", "proposal_matchers": "proposal_matcher"}


def _singular(model: dict[str, Any]) -> dict[str, Any]:
    """Rename a cascade's settings to those of a single-stage model."""
    heads = model.get(_HEADS)
    if not isinstance(heads, dict):
        return model
    return {**model, _HEADS: {_PLURAL.get(name, name): value for name, value in heads.items()}}


def _plain(name: str, value: Any) -> Any:
    """Strip the module, which may change between versions, from a class; return the name of a norm given as a call."""
    if name.endswith("norm") and isinstance(value, str) and "NaiveSyncBatchNorm(" in value:
        return "naiveSyncBN"
    return value.rpartition(".")[2] if name.endswith("_target_") and isinstance(value, str) else value


def _stages(model: dict[str, Any]) -> dict[str, Any]:
    """Return the IoU threshold and box weights of each stage; all other settings must be the same in all stages."""
    heads = model.get(_HEADS)
    get = Settings(_singular(model))
    predictors, matchers = (get(f"{_HEADS}.{name}", {}) for name in ("box_predictor", "proposal_matcher"))
    if not isinstance(heads, dict) or not isinstance(predictors, list):
        return {
            "MODEL.ROI_HEADS.IOU_THRESHOLDS": get(f"{_HEADS}.proposal_matcher.thresholds", [0.5]),
            "MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS": get(f"{_HEADS}.box_predictor.box2box_transform.weights"),
        }
    for parts in (get(f"{_HEADS}.box_head", []), predictors):
        same = [{name: x for name, x in leaves(part) if not name.startswith("box2box_transform.")} for part in parts]
        if any(part != same[0] for part in same):
            raise UserError("the stages' box heads differ in more than IoU and box weights, which cannot be converted")
    return {
        "MODEL.ROI_BOX_CASCADE_HEAD.IOUS": [u for part in matchers for u in Settings(part)("thresholds", [])],
        "MODEL.ROI_BOX_CASCADE_HEAD.BBOX_REG_WEIGHTS": [Settings(p)("box2box_transform.weights") for p in predictors],
    }


def _rpn(get: Settings) -> dict[str, Any]:
    found = {"MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": get(f"{_RPN}.anchor_generator.aspect_ratios", [0.5, 1.0, 2.0])}
    for when in ("pre", "post"):
        train, test = get(f"{_RPN}.{when}_nms_topk")
        found |= {f"MODEL.RPN.{when.upper()}_NMS_TOPK_TRAIN": train, f"MODEL.RPN.{when.upper()}_NMS_TOPK_TEST": test}
    return found


def _data(get: Settings) -> dict[str, Any]:
    """Return the size of test images and the dataset, if the file defines how images are loaded."""
    square = get("model.backbone.square_pad", 0)
    found: dict[str, Any] = {"INPUT.MIN_SIZE_TEST": square, "INPUT.MAX_SIZE_TEST": square} if square else {}
    for step in get("dataloader.test.mapper.augmentations", []):
        kind = str(step.get("_target_")).rpartition(".")[2]
        short, longest = step.get("short_edge_length"), step.get("max_size", None)
        if kind != "ResizeShortestEdge" or not isinstance(short, int) or not isinstance(longest, int):
            raise UserError(
                f"test images are transformed by {kind}; only ResizeShortestEdge with one length and a max_size can be "
                "converted"
            )
        found = {"INPUT.MIN_SIZE_TEST": short, "INPUT.MAX_SIZE_TEST": longest}
    if found:
        found["INPUT.MIN_SIZE_TRAIN"] = [found["INPUT.MIN_SIZE_TEST"]]
    stated, loaded = get("model.input_format", "BGR"), get("dataloader.test.mapper.image_format", None)
    if loaded not in (None, stated):
        raise UserError(
            f"test images are loaded as {loaded} (dataloader.test.mapper.image_format), but model.input_format is "
            f"{stated}; give both the format that the model was trained with"
        )
    names = get("dataloader.train.dataset.names")
    return found | {"DATASETS.TRAIN": [names] if isinstance(names, str) else names or []}
