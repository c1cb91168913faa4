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
    stage_ious: tuple[float, ...] | None = None  # u of each stage; integral loss: of each classifier, ascending
    stage_stds: tuple[Std, ...] | None = None  # target statistics of each stage
    stage_means: tuple[Std, ...] | None = None
    iterations: int | None = None  # iterative bbox: how often its head is applied; 3
    class_agnostic: bool = True
    # in place of the one that the name says: resnet101, ..., or timm/NAME for a network of timm; of _fpn models
    backbone: str | None = None
    backbone_width: int | None = None  # channels of the backbone's first layers, doubling from there; 64
    pyramid_channels: int = 256
    rpn_channels: int | None = None  # of its 3x3 convolution; 512 without a pyramid, else as many as the pyramid's
    rpn_convs: int | None = None  # 3x3 convolutions of the RPN; 1, with a simple pyramid 2
    # layers of the box head, fully connected and convolutional (not R-FCN's); 2fc, with a simple pyramid 4conv1fc
    head: Literal["2fc", "4conv1fc"] | None = None
    head_width: int | None = None  # 1024 (fully connected units; R-FCN: channels), VGG 2048
    # normalisation in the pyramid and in the convolutions of box and mask heads; none, with a simple pyramid layer
    norm: Literal["batch", "group", "layer"] | None = None
    # ... and in the backbone, where it has a choice; default: its statistics are fixed if pretrained, else of the batch
    backbone_norm: Literal["frozen", "affine", "batch", "group"] | None = None
    box_loss: Literal["smooth_l1", "giou", "diou", "ciou"] = "smooth_l1"  # of the box heads
    mask_stages: tuple[int, ...] | None = None  # the stages on whose positives masks are trained, with a head for each
    mask_channels: int | None = None  # of the mask heads' convolutions; as many as the pyramid's
    mask_agnostic: bool = False  # one mask for all classes
    anchor_sizes: tuple[int, ...] | None = None  # one a pyramid level, from P2 on; without a pyramid all on one level
    anchor_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    # boxes an image that enter the cascade; 1000 (in training by the preset up to 6000), without a pyramid 300 (4000)
    proposals: int | None = None
    rois: int | None = None  # ... of which this many are trained on; 512, VGG 128, R-FCN 256
    # short side; several: drawn per batch in training; None: as they are; default: 800, without a pyramid 600, ViT 1024
    min_size: int | tuple[int, ...] | Literal["default"] | None = "default"
    max_size: int | None = None  # long side; 1333, without a pyramid 1000, ViT 1024
    # of the backbone, counted from its output (ResNets and VGG have 5); default: 3 of those if pretrained, else all;
    # networks of timm have about one for each block, all of which are trained by default
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
