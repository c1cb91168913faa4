"""The typed keyword arguments of `create_model`."""

from typing import Literal, TypedDict

from cascade_rcnn.config import Std


class CreateOptions(TypedDict, total=False):
    """Options of `create_model`: the fields of `ModelOptions`, which documents them, except `backbone`."""

    semantics: Literal["paper", "detectron2", "mmdet"]
    stages: int | None
    stage_ious: tuple[float, ...] | None
    stage_stds: tuple[Std, ...] | None
    stage_means: tuple[Std, ...] | None
    iterations: int | None
    class_agnostic: bool
    backbone_width: int | None
    pyramid_channels: int
    rpn_channels: int | None
    rpn_convs: int | None
    head: Literal["2fc", "4conv1fc"] | None
    head_width: int | None
    norm: Literal["batch", "group", "layer"] | None
    backbone_norm: Literal["frozen", "affine", "batch", "group"] | None
    box_loss: Literal["smooth_l1", "giou", "diou", "ciou"]
    classification: Literal["softmax", "sigmoid"]
    mask_stages: tuple[int, ...] | None
    mask_channels: int | None
    mask_agnostic: bool
    anchor_sizes: tuple[int, ...] | None
    anchor_ratios: tuple[float, ...]
    proposals: int | None
    rois: int | None
    min_size: int | tuple[int, ...] | Literal["default"] | None
    max_size: int | None
    trainable_layers: int | None
    drop_path: float | None
    checkpointing: bool
    score_threshold: float | None
    nms_iou: float
    agnostic_nms: bool
    max_detections: int
    test_stage: int | None
    ensemble: bool
    ensemble_rois: Literal["last", "own"] | None
    survivors: int | None
