"""Read detectron2's config.yaml: settings to use, settings that must have a certain value, and settings to ignore."""

import ast
from pathlib import Path
from typing import Any

import yaml

from cascade_rcnn.errors import UserError
from cascade_rcnn.interop.known import Known, about_training, leaves
from cascade_rcnn.interop.mmdet_files import Stock, nothing
from cascade_rcnn.interop.python_values import Budget, tree

_NORMS = ("FrozenBN", "BN", "SyncBN", "nnSyncBN", "naiveSyncBN", "GN", "LN")
FORMATS = ("BGR", "RGB")
LOSSES = ("smooth_l1", "giou", "diou", "ciou")

# The settings to use, with the values of Base-RCNN-FPN.yaml and detectron2's defaults.
STOCK: dict[str, Any] = {
    "INPUT.FORMAT": "BGR",
    "INPUT.MIN_SIZE_TEST": 800,
    "INPUT.MAX_SIZE_TEST": 1333,
    "INPUT.MIN_SIZE_TRAIN": [640, 672, 704, 736, 768, 800],
    "INPUT.MIN_SIZE_TRAIN_SAMPLING": "choice",
    "INPUT.SQUARE_PAD": 0,  # pad to squares of this side; 0: to rectangles. Only LazyConfigs have this
    "MODEL.PIXEL_MEAN": [103.53, 116.28, 123.675],
    "MODEL.PIXEL_STD": [1.0, 1.0, 1.0],
    "MODEL.BACKBONE.FREEZE_AT": 2,
    "MODEL.FPN.NORM": "",
    "MODEL.RESNETS.NORM": "FrozenBN",
    "MODEL.RESNETS.STRIDE_IN_1X1": True,
    "MODEL.RESNETS.DEFORM_MODULATED": False,
    "MODEL.ANCHOR_GENERATOR.SIZES": [[32], [64], [128], [256], [512]],
    "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": [[0.5, 1.0, 2.0]],
    "MODEL.ANCHOR_GENERATOR.OFFSET": 0.0,
    "MODEL.RPN.IN_FEATURES": ["p2", "p3", "p4", "p5", "p6"],
    "MODEL.RPN.PRE_NMS_TOPK_TRAIN": 2000,
    "MODEL.RPN.PRE_NMS_TOPK_TEST": 1000,
    "MODEL.RPN.POST_NMS_TOPK_TRAIN": 1000,
    "MODEL.RPN.POST_NMS_TOPK_TEST": 1000,
    "MODEL.RPN.NMS_THRESH": 0.7,
    "MODEL.RPN.BATCH_SIZE_PER_IMAGE": 256,
    "MODEL.RPN.POSITIVE_FRACTION": 0.5,
    "MODEL.RPN.IOU_THRESHOLDS": [0.3, 0.7],
    "MODEL.RPN.BBOX_REG_LOSS_TYPE": "smooth_l1",
    "MODEL.RPN.BBOX_REG_LOSS_WEIGHT": 1.0,
    "MODEL.RPN.SMOOTH_L1_BETA": 0.0,
    "MODEL.PROPOSAL_GENERATOR.MIN_SIZE": 0,
    "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": 512,
    "MODEL.ROI_HEADS.POSITIVE_FRACTION": 0.25,
    "MODEL.ROI_HEADS.IOU_THRESHOLDS": [0.5],
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.05,
    "MODEL.ROI_HEADS.NMS_THRESH_TEST": 0.5,
    "MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS": [10.0, 10.0, 5.0, 5.0],
    "MODEL.ROI_BOX_HEAD.NORM": "",
    "MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_TYPE": "smooth_l1",
    "MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_WEIGHT": 1.0,
    "MODEL.ROI_BOX_HEAD.SMOOTH_L1_BETA": 0.0,
    "MODEL.ROI_BOX_HEAD.USE_SIGMOID_CE": False,
    "MODEL.ROI_BOX_HEAD.USE_FED_LOSS": False,
    "MODEL.ROI_BOX_HEAD.POOLER_TYPE": "ROIAlignV2",
    "MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO": 0,
    "MODEL.ROI_BOX_CASCADE_HEAD.BBOX_REG_WEIGHTS": [[10, 10, 5, 5], [20, 20, 10, 10], [30, 30, 15, 15]],
    "MODEL.ROI_BOX_CASCADE_HEAD.IOUS": [0.5, 0.6, 0.7],
    "MODEL.ROI_MASK_HEAD.NORM": "",
    "MODEL.ROI_MASK_HEAD.LOSS_WEIGHT": 1.0,  # only LazyConfigs have this
    "MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION": 14,
    "MODEL.ROI_MASK_HEAD.POOLER_TYPE": "ROIAlignV2",
    "MODEL.ROI_MASK_HEAD.POOLER_SAMPLING_RATIO": 0,
    "TEST.DETECTIONS_PER_IMAGE": 100,
    "DATASETS.TRAIN": [],
}
# Cascade R-CNN keeps more proposals in training.
STOCK_CASCADE = {"MODEL.RPN.POST_NMS_TOPK_TRAIN": 2000}

_REQUIRED: dict[str, tuple[Any, ...]] = {
    "INPUT.FORMAT": FORMATS,
    "MODEL.META_ARCHITECTURE": ("GeneralizedRCNN", "PanopticFPN"),
    "MODEL.LOAD_PROPOSALS": (False,),
    "MODEL.BACKBONE.NAME": ("build_resnet_fpn_backbone",),
    "MODEL.FPN.FUSE_TYPE": ("sum",),
    "MODEL.FPN.NORM": ("", *_NORMS),
    "MODEL.FPN.IN_FEATURES": (["res2", "res3", "res4", "res5"],),
    "MODEL.RESNETS.OUT_FEATURES": (["res2", "res3", "res4", "res5"],),
    "MODEL.RESNETS.RES5_DILATION": (1,),
    "MODEL.RESNETS.NORM": _NORMS,
    "MODEL.ANCHOR_GENERATOR.NAME": ("DefaultAnchorGenerator",),
    "MODEL.PROPOSAL_GENERATOR.NAME": ("RPN",),
    "MODEL.RPN.HEAD_NAME": ("StandardRPNHead",),
    "MODEL.RPN.IN_FEATURES": (["p2", "p3", "p4", "p5", "p6"],),
    "MODEL.RPN.IOU_LABELS": ([0, -1, 1],),
    "MODEL.RPN.BOUNDARY_THRESH": (-1,),
    "MODEL.RPN.BBOX_REG_WEIGHTS": ([1.0, 1.0, 1.0, 1.0],),
    "MODEL.RPN.BBOX_REG_LOSS_TYPE": LOSSES,
    "MODEL.RPN.LOSS_WEIGHT": (1.0,),
    "MODEL.ROI_HEADS.NAME": ("StandardROIHeads", "CascadeROIHeads"),
    "MODEL.ROI_HEADS.IN_FEATURES": (["p2", "p3", "p4", "p5"],),
    "MODEL.ROI_HEADS.IOU_LABELS": ([0, 1],),
    "MODEL.ROI_HEADS.PROPOSAL_APPEND_GT": (True,),
    "MODEL.ROI_BOX_HEAD.NAME": ("FastRCNNConvFCHead",),
    "MODEL.ROI_BOX_HEAD.NORM": ("", *_NORMS),
    "MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_TYPE": LOSSES,
    "MODEL.ROI_BOX_HEAD.POOLER_TYPE": ("ROIAlignV2", "ROIAlign"),
    "MODEL.ROI_BOX_HEAD.TRAIN_ON_PRED_BOXES": (False,),
    "MODEL.ROI_BOX_HEAD.USE_FED_LOSS": (False, True),
    "MODEL.ROI_BOX_HEAD.USE_SIGMOID_CE": (False, True),
    "MODEL.ROI_MASK_HEAD.NORM": ("", *_NORMS),
    "MODEL.ROI_MASK_HEAD.POOLER_TYPE": ("ROIAlignV2", "ROIAlign"),
    "TEST.AUG.ENABLED": (False,),
}
_INERT = "|".join(
    (
        r"(?!(MODEL|INPUT|TEST)\.)",  # schedules, data, logs, and settings of a project
        r"(TEST\.AUG|TEST\.PRECISE_BN|INPUT\.CROP)\.",
        r"INPUT\.(MAX_SIZE_TRAIN|RANDOM_FLIP|MASK_FORMAT)$",
        r"TEST\.(EXPECTED_RESULTS|EVAL_PERIOD|KEYPOINT_OKS_SIGMAS)$",
        r"MODEL\.(DEVICE|WEIGHTS|MASK_ON|KEYPOINT_ON)$",
        r"MODEL\.(RETINANET|SEM_SEG_HEAD|PANOPTIC_FPN|ROI_KEYPOINT_HEAD)\.",  # not converted, or not used
        r"MODEL\.ROI_MASK_HEAD\.(NAME|NUM_CONV|CONV_DIM|CLS_AGNOSTIC_MASK|FC_DIM|NUM_FC)$",  # inferred from shapes
        r"MODEL\.POINT_HEAD\.",  # another kind of mask head, which is not converted
        r"MODEL\.RESNETS\.(DEPTH|NUM_GROUPS|WIDTH_PER_GROUP|\w+_OUT_CHANNELS)$",  # inferred from shapes
        r"MODEL\.RESNETS\.DEFORM_(ON_PER_STAGE|NUM_GROUPS)$",
        r"MODEL\.(FPN\.OUT_CHANNELS|ROI_HEADS\.NUM_CLASSES|ANCHOR_GENERATOR\.ANGLES)$",
        r"MODEL\.RPN\.CONV_DIMS$",
        r"MODEL\.ROI_BOX_HEAD\.(NUM_CONV|NUM_FC|FC_DIM|CONV_DIM|CLS_AGNOSTIC_BBOX_REG|POOLER_RESOLUTION|FED_LOSS_\w+)$",
    )
)
_TRAINING = (  # what only training depends on
    r"MODEL\.(RPN\.(LOSS_WEIGHT|BOUNDARY_THRESH|BBOX_REG_LOSS_TYPE|IOU_LABELS)|"
    r"ROI_HEADS\.(IOU_LABELS|PROPOSAL_APPEND_GT)|ROI_BOX_HEAD\.(TRAIN_ON_PRED_BOXES|BBOX_REG_LOSS_TYPE))"
)
_KNOWN = Known(read=STOCK.keys(), required=_REQUIRED, inert=_INERT, training=_TRAINING)


def read_config(path: Path, stock: Stock = nothing) -> tuple[dict[str, Any], list[str]]:
    """Read a config.yaml and its bases as {"MODEL.RPN.NMS_THRESH": 0.7, ...}, with notes on missing bases.

    `stock` looks up the settings of published detectors, for bases that do not exist. Raises UserError if the config is
    unsuitable.
    """
    notes: list[str] = []
    flat = _read(path, stock, notes)
    if not any(key.startswith("MODEL.") for key in flat):
        raise UserError(f"{path}: no MODEL section; give the config.yaml that detectron2 writes next to its weights")
    lost = [name for name, value in flat.items() if _KNOWN.only_training(name, value)]
    flat = {name: value for name, value in flat.items() if name not in lost}
    _KNOWN.check(flat.items(), str(path))
    return flat, [*notes, *about_training(lost)]


def _read(path: Path, stock: Stock, notes: list[str], depth: int = 0) -> dict[str, Any]:
    if depth > 10:
        raise UserError(f"{path}: builds on more than 10 files, or itself; give the config.yaml that detectron2 writes")
    try:
        content = tree(yaml.safe_load(path.read_text(encoding="utf-8")), Budget())
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: not a readable YAML file ({reason}); give detectron2's config.yaml") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: not a mapping of settings; give detectron2's config.yaml")
    base = content.pop("_BASE_", None)
    own = {key: _decoded(value) for key, value in leaves(content)}
    if not base:
        return own
    if not isinstance(base, str) or "://" in base:
        raise UserError(f"{path}: builds on {str(base)[:80]}, which is not a file; put it beside this one as a file")
    file = path.parent / Path(base).expanduser()  # relative to this file, or starts with ~
    if file.is_file():
        return _read(file, stock, notes, depth + 1) | own
    known = {} if file.name == "Base-RCNN-FPN.yaml" else stock(file.stem)  # {}: its settings are those of STOCK
    if known is None:
        raise UserError(f"{path}: builds on {base}, which does not exist; put it there")
    notes.append(f"{base} does not exist; detectron2's own config of that name is used")
    return known | own


def _decoded(value: Any) -> Any:
    """Evaluate strings that are Python literals, such as "(640, 800)", like detectron2 does."""
    if not isinstance(value, str):
        return value
    try:
        return dict(leaves(ast.literal_eval(value)))[""]
    except (ValueError, SyntaxError, TypeError, KeyError, RecursionError, MemoryError):
        return value
