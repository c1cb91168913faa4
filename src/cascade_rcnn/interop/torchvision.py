"""torchvision's checkpoints: `fasterrcnn_resnet50_fpn` and its kin (not the "v2" heads)."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from cascade_rcnn.config import Anchors, ModelConfig, Preprocess, RoIAlign, Rpn
from cascade_rcnn.errors import UserError
from cascade_rcnn.interop import categories, layout
from cascade_rcnn.interop.layout import Names, State
from cascade_rcnn.presets import DETECTRON2

_HEAD = {"fc1": "box_head.fc6", "fc2": "box_head.fc7"} | {
    "classifier": "box_predictor.cls_score",
    "regressor": "box_predictor.bbox_pred",
}
SIGN = r"backbone\.body\."
NAMES: Names = (
    *((f"backbone.{kind}1", f"backbone.body.{kind}1") for kind in ("conv", "bn")),
    *(
        (f"backbone.layer{{}}.{{}}.{kind}{{}}", f"backbone.body.layer{{}}.{{}}.{kind}{{}}")
        for kind in ("conv", "bn", "downsample.")
    ),
    # the second of each pair: files from before torchvision 0.13
    *(("pyramid.lateral.{}", f"backbone.fpn.inner_blocks.{{}}{end}") for end in (".0", "")),
    *(("pyramid.output.{}", f"backbone.fpn.layer_blocks.{{}}{end}") for end in (".0", "")),
    *(("rpn.conv", f"rpn.head.conv{end}") for end in (".0.0", "")),
    ("rpn.objectness", "rpn.head.cls_logits"),
    ("rpn.deltas", "rpn.head.bbox_pred"),
    *((f"roi_heads.heads.0.{ours}", f"roi_heads.{theirs}") for ours, theirs in _HEAD.items()),
)
MASK = r"roi_heads\.(mask|keypoint)_"
IGNORED = rf"{MASK}|.*\.num_batches_tracked$"
LAYOUT: dict[str, layout.Change] = {
    r"roi_heads\.heads\.0\.fc1\.weight": layout.fc1_in,
    r"roi_heads\.heads\.0\.regressor\.(weight|bias)": lambda rows, _: rows[4:],  # background comes first, unused
}
SEMANTICS = replace(DETECTRON2, name="torchvision", box_beta=1 / 9, rpn_box_beta=1 / 9)


def read_settings(config: Path | None, meta: dict[str, Any]) -> tuple[None, list[str]]:
    """Nothing: torchvision has no config files. Raises UserError where one is given."""
    if config is not None:
        raise UserError("torchvision has no config files; leave --config out")
    return None, []


def to_config(skeleton: ModelConfig, *, own_weights: bool, batch_norm: bool) -> ModelConfig:
    """What the shapes tell, completed by torchvision's defaults.

    `own_weights`: trained by torchvision itself on COCO (then the batch norm has eps 0); `batch_norm`: it was trained.
    """
    return replace(
        skeleton,
        categories=categories.coco(with_gaps=True) if own_weights else skeleton.categories,
        semantics=SEMANTICS,
        preprocess=Preprocess(round_down=True),
        backbone=replace(
            skeleton.backbone,
            norm="batch" if batch_norm else "frozen",
            fold_norm=False,
            norm_eps=0.0 if own_weights else 1e-5,
            frozen_stages=0 if batch_norm else 2,
        ),
        rpn=Rpn(
            anchors=Anchors(ratios=(0.5, 1.0, 2.0), rounded=True, measured_stride=True),
            post_nms_train=2000,
            min_size=1e-3,
        ),
        roi_align=RoIAlign(resolution=skeleton.roi_align.resolution, sampling=2, aligned=False),
        inference=replace(skeleton.inference, min_size=1e-2),
    )


def convert(state: State, settings: None = None) -> tuple[ModelConfig, State]:
    """torchvision's state dict (it has no config file) -> our config and state dict."""
    ours = layout.our_names(state, NAMES, IGNORED)
    skeleton = layout.skeleton(ours)
    # Fixed batch norm and COCO's 90 ids: weights that torchvision publishes. Its code sets eps to 0 for them.
    batch_norm = any(name.endswith("num_batches_tracked") for name in state)
    config = to_config(skeleton, own_weights=skeleton.num_classes == 90 and not batch_norm, batch_norm=batch_norm)
    return config, layout.check(layout.relaid(ours, config, LAYOUT), config)
