"""Convert torchvision's checkpoints: `fasterrcnn_resnet50_fpn`, `fasterrcnn_resnet50_fpn_v2` and related models."""

from pathlib import Path
from typing import Any

from cascade_rcnn.config import (
    AnchorConfig,
    MaskConfig,
    ModelConfig,
    NormConfig,
    PreprocessConfig,
    ResNetConfig,
    RoIAlignConfig,
    RPNConfig,
    SmoothL1Config,
    replace,
)
from cascade_rcnn.config.presets import DETECTRON2
from cascade_rcnn.errors import UserError
from cascade_rcnn.interop import categories, layout
from cascade_rcnn.interop.mmdet_files import Stock, nothing
from cascade_rcnn.interop.renaming import Layout, Names, State, relaid

_BLOCKS = (("lateral", "inner"), ("output", "layer"))
_HEAD = (
    *(("fc1", "box_head.fc6"), ("fc2", "box_head.fc7")),
    # v2: four convolutions with normalisation, then (after flattening) one linear layer
    *((f"{kind}{k + 1}", f"box_head.{k}.{i}") for k in range(4) for i, kind in enumerate(("conv", "bn"))),
    *(("fc1", "box_head.5"), ("classifier", "box_predictor.cls_score"), ("regressor", "box_predictor.bbox_pred")),
)
_MASKS = (
    *((f"conv{k}", f"mask_head.{end}") for k in range(1, 9) for end in (f"{k - 1}.0", f"mask_fcn{k}")),
    *((f"bn{k}", f"mask_head.{k - 1}.1") for k in range(1, 9)),
    *(("deconv", "mask_predictor.conv5_mask"), ("predictor", "mask_predictor.mask_fcn_logits")),
)
SIGN = r"backbone\.body\."
NAMES: Names = (
    # the second of each pair is for files from before torchvision 0.13
    *(("pyramid.lateral.{}", f"backbone.fpn.inner_blocks.{{}}{end}") for end in (".0", "")),
    *(("pyramid.output.{}", f"backbone.fpn.layer_blocks.{{}}{end}") for end in (".0", "")),
    *((f"pyramid.{ours}_norm.{{}}", f"backbone.fpn.{theirs}_blocks.{{}}.1") for ours, theirs in _BLOCKS),
    *(("rpn.conv.{}", "rpn.head.conv.{}.0"), ("rpn.conv", "rpn.head.conv")),
    ("rpn.objectness", "rpn.head.cls_logits"),
    ("rpn.deltas", "rpn.head.bbox_pred"),
    *((f"roi_heads.heads.0.{ours}", f"roi_heads.{theirs}") for ours, theirs in _HEAD),
    *((f"{layout.MASK_HEADS}0.{ours}", f"roi_heads.{theirs}") for ours, theirs in _MASKS),
)
MASK = r"roi_heads\.(mask|keypoint)_"
IGNORED = r"roi_heads\.keypoint_|.*\.num_batches_tracked$"
LAYOUT: Layout = {
    r"roi_heads\.heads\.0\.fc1\.weight": layout.fc1_in,
    # drop the unused rows of the background, which come first
    r"tasks\.0\.heads\.0\.predictor\.(weight|bias)": lambda rows, _: rows[1:],
    r"roi_heads\.heads\.0\.regressor\.(weight|bias)": lambda rows, _: rows[4:],
}
_PUBLISHED = 90  # classes: COCO's ids, with gaps
FROM_COCO = "COCO_V1"  # with these weights, torchvision sets the eps of the fixed batch norm to 0
SEMANTICS = replace(DETECTRON2.semantics, name="torchvision")
_LOSS = SmoothL1Config(beta=1 / 9)


def read_settings(config: Path | None, meta: dict[str, Any], stock: Stock = nothing) -> tuple[str | None, list[str]]:
    """Return the name of the weights that the model started from, which is all that can be given for torchvision."""
    if config is None:
        return None, []
    if str(config) == FROM_COCO:
        return FROM_COCO, []
    raise UserError(
        f"torchvision has no config files; leave out --config, or give --config {FROM_COCO} if the model was "
        "fine-tuned from these weights"
    )


def to_config(skeleton: ModelConfig, *, from_coco: bool, batch_norm: bool) -> ModelConfig:
    """Complete the architecture inferred from tensor shapes with torchvision's defaults.

    `from_coco`: the weights are COCO_V1 or were fine-tuned from them, so that fixed batch norm has an eps of 0;
    `batch_norm`: batch norm was trained, otherwise its statistics are fixed.
    """
    assert isinstance(skeleton.backbone, ResNetConfig)
    own_weights = skeleton.num_classes == _PUBLISHED
    norm = NormConfig(kind="batch" if batch_norm else "frozen", folded=False)
    return replace(
        skeleton,
        categories=categories.coco(with_gaps=True) if own_weights else skeleton.categories,
        semantics=SEMANTICS,
        preprocess=PreprocessConfig(round_down=True, divisor=32),
        backbone=replace(
            skeleton.backbone,
            norm=replace(norm, eps=0.0) if from_coco and not batch_norm else norm,
            frozen_stages=0 if batch_norm else 2,
        ),
        rpn=RPNConfig(
            anchors=AnchorConfig(ratios=(0.5, 1.0, 2.0), rounded=True, measured_stride=True),
            convs=skeleton.rpn.convs,
            box_loss=_LOSS,
            post_nms_train=2000,
            min_size=1e-3,
        ),
        box_loss=_LOSS,
        roi_align=RoIAlignConfig(resolution=skeleton.roi_align.resolution, sampling=2, aligned=False),
        tasks=tuple(_masks(task, batch_norm) for task in skeleton.tasks),
        inference=replace(skeleton.inference, min_size=1e-2),
    )


def _masks(task: MaskConfig, batch_norm: bool) -> MaskConfig:
    norm = task.norm if task.norm is None else NormConfig(kind="batch" if batch_norm else "frozen", folded=False)
    return replace(
        task,
        norm=norm,
        roi_align=RoIAlignConfig(resolution=14, sampling=2, aligned=False),
        targets="soft",
        paste="whole-pixels",
    )


def assumed(config: ModelConfig) -> str | None:
    """Return a note on the settings that the arguments of a user's own model may have changed."""
    if config.num_classes == _PUBLISHED:
        return None
    note = (
        "the file does not tell the model's arguments: anchors of 32 to 512 pixels, images of 800 to 1333 pixels, "
        "ImageNet's mean and standard deviation, and torchvision's default thresholds are assumed"
    )
    assert isinstance(config.backbone, ResNetConfig)
    if config.backbone.norm.kind == "frozen" and config.backbone.norm.eps:
        note += (
            f"; so is the eps of {config.backbone.norm.eps:g} of frozen batch norms, which is 0 if the model was "
            f"fine-tuned from weights={FROM_COCO}: in that case, give --config {FROM_COCO}"
        )
    return note


def convert(state: State, settings: str | None = None) -> tuple[ModelConfig, State]:
    """Convert torchvision's state dict to our config and state dict; `settings` names the weights it started from."""
    family, ours = layout.our_names("torchvision", state, NAMES, IGNORED, MASK)
    skeleton = layout.skeleton(ours, family)
    batch_norm = any(name.endswith("num_batches_tracked") for name in state)
    if settings == FROM_COCO and batch_norm:
        raise UserError(f"its batch norms are not frozen, unlike those of {FROM_COCO}; leave out --config")
    from_coco = settings == FROM_COCO or skeleton.num_classes == _PUBLISHED  # the latter are the published weights
    config = to_config(skeleton, from_coco=from_coco, batch_norm=batch_norm)
    return config, layout.check(relaid(ours, config, LAYOUT), config)
