"""What a caller of `create_model`, or a recipe, can vary about a named architecture."""

from dataclasses import dataclass
from typing import Literal

from cascade_rcnn.config.heads import Std


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """What `create_model` can vary. `None` means: as the architecture or the semantics preset has it.

    >>> options = ModelOptions(stages=2, min_size=(640, 800))
    >>> recipe = Recipe(model="cascade_rcnn_resnet50_fpn", options=options)
    """

    semantics: Literal["paper", "detectron2", "mmdet"] = "detectron2"
    stages: int | None = None  # T, 1 to 4
    stage_ious: tuple[float, ...] | None = None  # u of each stage; integral loss: of each classifier, ascending
    stage_stds: tuple[Std, ...] | None = None  # target statistics of each stage
    stage_means: tuple[Std, ...] | None = None
    iterations: int | None = None  # iterative bbox: how often its head is applied; 3
    class_agnostic: bool = True
    backbone_width: int | None = None  # channels of the backbone's first layers, doubling from there; 64
    pyramid_channels: int = 256
    rpn_channels: int | None = None  # of its 3x3 convolution; 512 without a pyramid, else as many as the pyramid's
    rpn_convs: int = 1  # 3x3 convolutions of the RPN
    head: Literal["2fc", "4conv1fc"] = "2fc"  # layers of the box head, fully connected and convolutional (not R-FCN's)
    head_width: int | None = None  # 1024 (fully connected units; R-FCN: channels), VGG 2048
    norm: Literal["batch", "group"] | None = None  # normalisation in the pyramid and in the box head's convolutions
    box_loss: Literal["smooth_l1", "giou", "diou", "ciou"] = "smooth_l1"  # of the box heads
    anchor_sizes: tuple[int, ...] | None = None  # one a pyramid level, from P2 on; without a pyramid all on one level
    anchor_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    # boxes an image that enter the cascade; 1000 (in training by the preset up to 6000), without a pyramid 300 (4000)
    proposals: int | None = None
    rois: int | None = None  # ... of which this many are trained on; 512, VGG 128, R-FCN 256
    # short side; several: drawn per batch in training; None: images as they are; default: 800, without a pyramid 600
    min_size: int | tuple[int, ...] | Literal["default"] | None = "default"
    max_size: int | None = None  # long side; 1333, without a pyramid 1000
    # of the backbone, counted from its output (ResNets and VGG have 5); default: 3 of those if pretrained, else all
    trainable_layers: int | None = None
    drop_path: float | None = None  # stochastic depth: rate of the last block, rising from 0; None: as published
    checkpointing: bool = False  # compute the blocks of the backbone again in the backward pass: less memory, slower
    score_threshold: float | None = None
    nms_iou: float = 0.5
    max_detections: int = 100
    test_stage: int | None = None  # detections are taken after this stage (iteration; integral: classifier)
    ensemble: bool = True  # average the classifiers of all stages up to there
    ensemble_rois: Literal["last", "own"] | None = None  # all on the last stage's boxes, or each on its own
    survivors: int | None = None  # boxes an image that go on after the first stage (early rejection); None: all
