"""Check mmdetection's configs (2.x and 3.x): settings to use, those that need a certain value, and those to ignore."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from cascade_rcnn.errors import UserError
from cascade_rcnn.interop import mmdet_files
from cascade_rcnn.interop.backbones import mmdet_type
from cascade_rcnn.interop.known import Known, about_training, leaves
from cascade_rcnn.interop.mmdet_pipeline import check_pipeline, scale
from cascade_rcnn.interop.python_config import Settings

OF_VERSION_1 = "this is from mmdetection 1.x, which defines boxes and anchors differently; only 2.x and 3.x convert"
_STRIDES = [4, 8, 16, 32, 64]
_ONE = (1.0,)
IOU_LOSSES: dict[str, Literal["iou", "bounded_iou", "giou", "diou", "ciou"]] = {
    "GIoULoss": "giou",
    "DIoULoss": "diou",
    "CIoULoss": "ciou",
    "IoULoss": "iou",
    "BoundedIoULoss": "bounded_iou",
}
_BOX_LOSSES = ("L1Loss", "SmoothL1Loss", *IOU_LOSSES)
_NORMS = ("BN", "SyncBN", "MMSyncBN", "GN")
# The settings to use, below `model`.
_READ = (
    *(
        f"{part}.norm_cfg.{name}"
        for part in ("neck", "roi_head.bbox_head", "roi_head.mask_head")
        for name in ("num_groups", "eps")
    ),
    *(f"{head}.loss_bbox.loss_weight" for head in ("rpn_head", "roi_head.bbox_head")),
    *("roi_head.bbox_head.reg_decoded_bbox",),
    *(f"roi_head.mask_roi_extractor.roi_layer.{name}" for name in ("output_size", "sampling_ratio", "aligned")),
    *("roi_head.mask_head.loss_mask.loss_weight",),
    *("data_preprocessor.mean", "data_preprocessor.std", "data_preprocessor.bgr_to_rgb"),
    *("rpn_head.anchor_generator.scales", "rpn_head.anchor_generator.ratios", "rpn_head.anchor_generator.strides"),
    *("rpn_head.anchor_generator.center_offset", "rpn_head.loss_bbox.beta"),
    *("roi_head.stage_loss_weights", "roi_head.bbox_head.loss_bbox.beta"),
    *("roi_head.bbox_head.bbox_coder.target_means", "roi_head.bbox_head.bbox_coder.target_stds"),
    *("roi_head.bbox_roi_extractor.roi_layer.sampling_ratio", "roi_head.bbox_roi_extractor.roi_layer.aligned"),
    *(f"train_cfg.rpn.assigner.{name}" for name in ("pos_iou_thr", "neg_iou_thr", "min_pos_iou")),
    *(f"train_cfg.rcnn.assigner.{name}" for name in ("pos_iou_thr", "neg_iou_thr", "min_pos_iou", "match_low_quality")),
    *(f"train_cfg.{part}.sampler.{name}" for part in ("rpn", "rcnn") for name in ("num", "pos_fraction")),
    *(f"{part}.{name}" for part in ("train_cfg.rpn_proposal", "test_cfg.rpn") for name in ("nms_pre", "min_bbox_size")),
    *(f"{part}.max_per_img" for part in ("train_cfg.rpn_proposal", "test_cfg.rpn", "test_cfg.rcnn")),
    *(f"{part}.max_num" for part in ("train_cfg.rpn_proposal", "test_cfg.rpn")),  # name in 2.0
    *(f"{part}.nms_thr" for part in ("train_cfg.rpn_proposal", "test_cfg.rpn")),  # name in 2.0
    *(f"{part}.nms.iou_threshold" for part in ("train_cfg.rpn_proposal", "test_cfg.rpn", "test_cfg.rcnn")),
    *("test_cfg.rcnn.score_thr", "test_cfg.rcnn.nms.iou_thr", "test_cfg.rcnn.nms.class_agnostic"),
)
_REQUIRED: dict[str, tuple[Any, ...]] = {
    "type": ("FasterRCNN", "CascadeRCNN", "MaskRCNN", "TwoStageDetector"),
    **{f"{part}.norm_cfg.type": _NORMS for part in ("neck", "roi_head.bbox_head", "roi_head.mask_head")},
    "neck.type": ("FPN",),
    "neck.add_extra_convs": (False,),
    "neck.relu_before_extra_convs": (False,),
    "neck.start_level": (0,),
    "neck.end_level": (-1,),
    **{f"neck.{name}": (None,) for name in ("conv_cfg", "act_cfg")},
    "neck.no_norm_on_lateral": (False,),
    "neck.upsample_cfg.mode": ("nearest",),
    "rpn_head.type": ("RPNHead",),
    "rpn_head.reg_decoded_bbox": (False,),
    "rpn_head.anchor_generator.type": ("AnchorGenerator",),
    "rpn_head.anchor_generator.scale_major": (True,),
    "rpn_head.bbox_coder.target_means": ([0.0, 0.0, 0.0, 0.0],),
    "rpn_head.bbox_coder.target_stds": ([1.0, 1.0, 1.0, 1.0],),
    "rpn_head.loss_cls.use_sigmoid": (True,),
    "roi_head.type": ("StandardRoIHead", "CascadeRoIHead"),
    "roi_head.shared_head": (None,),
    **{
        f"roi_head.{part}_roi_extractor.{name}": values
        for part in ("bbox", "mask")
        for name, values in {
            "type": ("SingleRoIExtractor",),
            "finest_scale": (56,),
            "featmap_strides": (_STRIDES[:4],),
            "roi_layer.type": ("RoIAlign",),
            "roi_layer.pool_mode": ("avg",),
        }.items()
    },
    "roi_head.mask_head.type": ("FCNMaskHead",),
    "roi_head.mask_head.conv_kernel_size": (3,),
    "roi_head.mask_head.conv_cfg": (None,),
    "roi_head.mask_head.predictor_cfg.type": ("Conv",),
    "roi_head.mask_head.upsample_cfg.type": ("deconv",),
    "roi_head.mask_head.upsample_cfg.scale_factor": (2,),
    "roi_head.mask_head.loss_mask.type": ("CrossEntropyLoss",),
    "roi_head.mask_head.loss_mask.use_mask": (True,),
    "roi_head.bbox_head.type": ("Shared2FCBBoxHead", "Shared4Conv1FCBBoxHead", "ConvFCBBoxHead"),
    **{f"roi_head.bbox_head.{name}": (0,) for name in ("num_cls_convs", "num_cls_fcs", "num_reg_convs", "num_reg_fcs")},
    "roi_head.bbox_head.conv_cfg": (None,),
    **{f"roi_head.bbox_head.{name}.type": ("Linear",) for name in ("cls_predictor_cfg", "reg_predictor_cfg")},
    **{f"roi_head.bbox_head.{name}": (True,) for name in ("with_cls", "with_reg")},
    "roi_head.bbox_head.with_avg_pool": (False,),
    "roi_head.bbox_head.custom_cls_channels": (False,),
    "roi_head.bbox_head.loss_cls.use_sigmoid": (False,),
    **{
        f"{head}.{name}": values
        for head in ("rpn_head", "roi_head.bbox_head")
        for name, values in {
            "bbox_coder.type": ("DeltaXYWHBBoxCoder",),
            "bbox_coder.clip_border": (True,),
            "bbox_coder.add_ctr_clamp": (False,),
            "loss_cls.type": ("CrossEntropyLoss",),
            "loss_cls.loss_weight": _ONE,
            "loss_cls.class_weight": (None,),
            "loss_bbox.type": _BOX_LOSSES,
        }.items()
    },
    "train_cfg.rpn.allowed_border": (0, -1),
    "train_cfg.rpn.assigner.match_low_quality": (True,),
    "train_cfg.rpn.sampler.add_gt_as_proposals": (False,),
    "train_cfg.rcnn.sampler.add_gt_as_proposals": (True,),
    **{
        f"train_cfg.{part}.{name}": values
        for part in ("rpn", "rcnn")
        for name, values in {
            "assigner.type": ("MaxIoUAssigner",),
            "sampler.type": ("RandomSampler",),
            "sampler.neg_pos_ub": (-1,),
            "pos_weight": (-1,),
        }.items()
    },
    **{f"{part}.nms.type": ("nms",) for part in ("train_cfg.rpn_proposal", "test_cfg.rpn", "test_cfg.rcnn")},
    "test_cfg.rcnn.mask_thr_binary": (0.5,),
    "data_preprocessor.type": ("DetDataPreprocessor",),
    "data_preprocessor.pad_size_divisor": (32,),
    "data_preprocessor.pad_value": (0,),
    "data_preprocessor.rgb_to_bgr": (False,),
    **{f"{part}.nms_across_levels": (False,) for part in ("train_cfg.rpn", "train_cfg.rpn_proposal", "test_cfg.rpn")},
}
_OF_ALL_PARTS = r"(init_cfg|pretrained|with_cp|debug)\b"  # how weights begin and activations are kept
_INERT = "|".join(
    (
        rf"(\w+\.)*{_OF_ALL_PARTS}",
        r"roi_head\.(train_cfg|test_cfg)\b|rpn_head\.(train_cfg|test_cfg)\b",  # overridden by the model's
        r"neck\.(in_channels|out_channels|num_outs)$",
        r"(neck|roi_head\.(bbox|mask)_head)\.norm_cfg\.requires_grad$",
        r"roi_head\.mask_head\.(in_channels|conv_out_channels|num_convs|num_classes|class_agnostic|roi_feat_size)$",
        r"roi_head\.mask_roi_extractor\.(out_channels|roi_layer\.use_torchvision)$",
        r"rpn_head\.(in_channels|feat_channels|num_classes|num_convs)$",
        r"roi_head\.num_stages$|roi_head\.bbox_roi_extractor\.(out_channels|roi_layer\.(output_size|use_torchvision))$",
        r"roi_head\.bbox_head\.(in_channels|fc_out_channels|roi_feat_size|num_classes|reg_class_agnostic)$",
        r"roi_head\.bbox_head\.(num_shared_fcs|num_shared_convs|conv_out_channels)$",  # names
        r"data_preprocessor\.(pad_mask|mask_pad_value|pad_seg|seg_pad_value|boxtype2tensor|non_blocking)$",
        r"data_preprocessor\.batch_augments\b",  # training only
        r"train_cfg\.(rpn|rcnn)\.assigner\.(ignore_iof_thr|gpu_assign_thr|iou_calculator\.type)$",
        r"train_cfg\.rcnn\.mask_size$",
        r"(train_cfg\.rpn_proposal|test_cfg\.rpn)\.nms_post$",  # not read by mmdetection either
    )
)
# What only training depends on. Boxes are decoded, and classes get softmax scores, whatever the losses are, except for
# losses with a `custom_activation`.
_TRAINING = "|".join(
    (
        r"train_cfg\.",
        r"(rpn_head|roi_head\.(bbox|mask)_head)\.loss_(bbox|mask)\.",
        r"rpn_head\.loss_cls\.(?!use_sigmoid)",
        r"roi_head\.bbox_head\.loss_cls\.((?!type|num_classes)|type=(FocalLoss|GHMC)$)",
    )
)
_KNOWN = Known(
    read={f"model.{name}" for name in _READ},
    required={f"model.{name}": values for name, values in _REQUIRED.items()},
    inert=rf"model\.({_INERT})",
    training=rf"model\.({_TRAINING})",
)


def read_config(path: Path, stock: mmdet_files.Stock = mmdet_files.nothing) -> tuple[Settings, list[str]]:
    """Read a config.py and its bases without running them; return notes on where settings come from.

    Raises UserError if that is impossible.
    """
    values, notes = mmdet_files.read(path, stock)
    settings = check(values, str(path))
    return settings, [*notes, *settings.notes]


def parse_config(text: str, where: str) -> Settings:
    """Parse the text of a config; `where` names it in errors."""
    return check(mmdet_files.read_text(text, where), where)


def check(values: dict[str, Any], where: str) -> Settings:
    """Check a config for anything that would be lost in conversion, and return its settings."""
    if not isinstance(values.get("model"), dict):
        raise UserError(f"{where}: has no `model`; give the config of a detector")
    if "bbox_roi_extractor" in values["model"]:
        raise UserError(f"{where}: {OF_VERSION_1}")
    _rename_layers(values["model"].get("roi_head"))
    for key in ("train_cfg", "test_cfg"):  # outside `model` in early versions of 2.x
        outside = values.get(key)
        if isinstance(outside, dict) and "type" not in outside:  # in 3.x, it has a type and configures the loop
            values["model"].setdefault(key, outside)
    values["model"], lost = _KNOWN.without_training(values["model"], "model")
    _check_known(values["model"], where)
    settings = Settings(values)
    settings.notes = about_training([*lost, *_lost_together(settings)])
    try:
        _check_together(settings, lost)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    check_pipeline(settings, where)
    return settings


def _rename_layers(roi_head: Any) -> None:
    """Rename the settings of RoIAlign that had other names in version 2.0."""
    for part in ("bbox_roi_extractor", "mask_roi_extractor") if isinstance(roi_head, dict) else ():
        several = roi_head.get(part)
        for extractor in several if isinstance(several, list) else [several]:
            layer = extractor.get("roi_layer") if isinstance(extractor, dict) else None
            for old, new in (("out_size", "output_size"), ("sample_num", "sampling_ratio")):
                if isinstance(layer, dict) and old in layer:
                    layer.setdefault(new, layer.pop(old))


def _check_known(model: dict[str, Any], where: str) -> None:
    """Check the type of the model first, then its backbone, then the rest."""
    backbone = model.get("backbone")
    _KNOWN.check([("model.type", model.get("type"))], where)
    if isinstance(backbone, dict):
        try:
            known = mmdet_type(str(backbone.get("type", "ResNet"))).known
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
        own = {key: value for key, value in backbone.items() if key != "type" and not re.match(_OF_ALL_PARTS, key)}
        known.check(leaves(own), where, "model.backbone.")
    _KNOWN.check(leaves({name: value for name, value in model.items() if name != "backbone"}, "model"), where)


def _check_together(get: Settings, lost: list[str]) -> None:
    """Check settings that can be converted only in certain combinations; `lost` names those that are left out."""
    strides = get("model.rpn_head.anchor_generator.strides", _STRIDES)
    if list(strides) != _STRIDES[: len(strides)]:
        raise UserError(f"model.rpn_head.anchor_generator.strides is {strides}; only {_STRIDES} can be converted")
    preprocessor = get("model.data_preprocessor")
    if preprocessor is not None and preprocessor.get("pad_size_divisor") is None:
        raise UserError("model.data_preprocessor.pad_size_divisor is 1, its default; only 32 can be converted")
    scale(get)
    _check_same(get)
    _check_box_losses(get, lost)


def _lost_together(get: Settings) -> Iterator[str]:
    """Yield the names of training settings that are lost in combination with others."""
    part = "model.train_cfg.rcnn"
    stages = _stages(get(part))
    for stage in stages:
        positive, negative = (stage(f"assigner.{name}_iou_thr") for name in ("pos", "neg"))
        if None not in (positive, negative) and negative != positive:
            yield f"{part}.assigner.neg_iou_thr"
        if stage("assigner.match_low_quality", False) and stage("assigner.min_pos_iou", 0.0) < (positive or 0.5):
            yield f"{part}.assigner.match_low_quality"
    for name in ("sampler.num", "sampler.pos_fraction"):
        if len({stage(name) for stage in stages}) > 1:
            yield f"{part}.{name} (of other stages than the first)"
    for name, default in (("nms_iou", 0.7), ("min_size", 0)):
        train, test = (proposals(get, part)[name] for part in ("train_cfg.rpn_proposal", "test_cfg.rpn"))
        if train is not None and (default if test is None else test) != train:
            yield f"model.train_cfg.rpn_proposal ({name} of {train})"


# The parts of the RoI head, of which each stage may have its own, and the settings that must be the same for all
_SAME = {
    "bbox_head": ("loss_bbox", "reg_decoded_bbox", "norm_cfg"),
    "mask_head": ("loss_mask.loss_weight", "norm_cfg"),
    "bbox_roi_extractor": ("roi_layer",),
    "mask_roi_extractor": ("roi_layer",),
}


def _check_same(get: Settings) -> None:
    """Check that the stages differ only in settings that are read for each of them."""
    for part, names in _SAME.items():
        found = get(f"model.roi_head.{part}")
        stages = [Settings(stage) for stage in found] if isinstance(found, list) else []
        for name in names:
            if any(stage(name) != stages[0](name) for stage in stages):
                raise UserError(
                    f"the stages have different {name} settings in model.roi_head.{part}; only one for all stages can "
                    "be converted"
                )


def _check_box_losses(get: Settings, lost: list[str]) -> None:
    """Check that `reg_decoded_bbox` fits the loss."""
    for part in ("roi_head.bbox_head", "rpn_head"):
        if f"model.{part}.loss_bbox.type" in lost:
            continue
        head = Settings(get(f"model.{part}.0", get(f"model.{part}", {})))
        decoded, kind = bool(head("reg_decoded_bbox", False)), head("loss_bbox.type", "L1Loss")
        if decoded != (kind in IOU_LOSSES):
            raise UserError(
                f"model.{part}.reg_decoded_bbox is {decoded} with {kind}; it must be True for "
                f"{', '.join(IOU_LOSSES)}, and False otherwise, to be converted"
            )


def _stages(rcnn: Any) -> list[Settings]:
    """Return the training settings of each stage: a list with several stages, a dict with one."""
    parts = rcnn if isinstance(rcnn, list) else [rcnn]
    return [Settings(part) for part in parts if isinstance(part, dict) and part]


def proposals(get: Settings, part: str) -> dict[str, Any]:
    """Return the settings of `train_cfg.rpn_proposal` or `test_cfg.rpn` by the names of any version, None if unset."""
    names = {
        "pre_nms": ("nms_pre",),
        "post_nms": ("max_per_img", "max_num"),
        "nms_iou": ("nms.iou_threshold", "nms_thr"),
        "min_size": ("min_bbox_size",),
    }
    found = {name: [get(f"model.{part}.{key}") for key in keys] for name, keys in names.items()}
    return {name: next((x for x in values if x is not None), None) for name, values in found.items()}
