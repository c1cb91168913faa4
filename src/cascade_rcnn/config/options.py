"""Options of named architectures, for `create_model` and recipes."""

from dataclasses import dataclass
from typing import Literal

from cascade_rcnn.config.heads import Std


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Options of `create_model`. `None` means the default of the architecture or the semantics preset.

    >>> options = ModelOptions(stages=2, min_size=(640, 800))
    >>> recipe = Recipe(model="cascade_rcnn_resnet50_fpn", options=options)
    """

    semantics: Literal["paper", "detectron2", "mmdet"] = "detectron2"
    stages: int | None = None  # T, 1 to 4
    stage_ious: tuple[float, ...] | None = None  # u of each stage (integral loss: of each classifier, ascending)
    stage_stds: tuple[Std, ...] | None = None  # target statistics of each stage
    stage_means: tuple[Std, ...] | None = None
    iterations: int | None = None  # iterative bbox: how often its head is applied; default: 3
    class_agnostic: bool = True
    # replaces the backbone in the name of an _fpn model: resnet101, ..., or timm/NAME for a network from timm
    backbone: str | None = None
    backbone_width: int | None = None  # channels of the backbone's first layers, which double from there; default: 64
    pyramid_channels: int = 256
    rpn_channels: int | None = None  # of the RPN's 3x3 convolutions; default: the pyramid's, without a pyramid 512
    rpn_convs: int | None = None  # number of the RPN's 3x3 convolutions; default: 1, with a simple pyramid 2
    # layers of the box head (not for R-FCN); default: 2fc, with a simple pyramid 4conv1fc
    head: Literal["2fc", "4conv1fc"] | None = None
    head_width: int | None = None  # fully connected units (R-FCN: channels); default: 1024, VGG 2048
    # normalisation of the pyramid and the convolutions of box and mask heads; default: none, simple pyramid: layer
    norm: Literal["batch", "group", "layer"] | None = None
    # normalisation in the backbone, if it has a choice; default: frozen if pretrained, else batch
    backbone_norm: Literal["frozen", "affine", "batch", "group"] | None = None
    box_loss: Literal["smooth_l1", "giou", "diou", "ciou"] = "smooth_l1"  # of the box heads
    classification: Literal["softmax", "sigmoid"] = "softmax"  # exclusive or independent (LVIS) classes
    mask_stages: tuple[int, ...] | None = None  # stages whose positives train masks, with one mask head each
    mask_channels: int | None = None  # of the mask heads' convolutions; default: the pyramid's
    mask_agnostic: bool = False  # predict one mask for all classes
    anchor_sizes: tuple[int, ...] | None = None  # one per pyramid level from P2 on; without a pyramid, all on one level
    anchor_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)  # height / width
    # boxes per image that enter the cascade; default: 1000 (in training up to 6000, depending on the preset), without a
    # pyramid 300 (4000)
    proposals: int | None = None
    rois: int | None = None  # sampled boxes per image that a stage is trained on; default: 512, VGG 128, R-FCN 256
    # short side; of several, training draws one per batch; None: no resizing; default: 800, without a pyramid 600, ViT
    # 1024
    min_size: int | tuple[int, ...] | Literal["default"] | None = "default"
    max_size: int | None = None  # maximum long side; default: 1333, without a pyramid 1000, ViT 1024
    # how many layers of the backbone to train, counted from its output (ResNet and VGG have 5); default: 3 of those if
    # pretrained, else all; networks from timm have about one per block, all trained by default
    trainable_layers: int | None = None
    drop_path: float | None = None  # stochastic depth: rate of the last block, rising from 0; default: as published
    checkpointing: bool = False  # recompute the backbone's blocks in the backward pass: less memory, slower
    score_threshold: float | None = None
    nms_iou: float = 0.5
    agnostic_nms: bool = False  # whether boxes of different classes suppress each other, too
    max_detections: int = 100
    test_stage: int | None = None  # the stage (iteration, classifier) that produces the detections; default: the last
    ensemble: bool = True  # average the classifiers of all stages up to `test_stage`
    ensemble_rois: Literal["last", "own"] | None = None  # run them all on the last stage's boxes, or each on its own
    survivors: int | None = None  # boxes per image kept after the first stage (early rejection); default: all
