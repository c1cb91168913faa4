"""What a model is, as data: frozen dataclasses that travel inside every checkpoint.

Every field has a default, so that a checkpoint may lack those that came later; numbers that no model can have are
refused where a config is made, so that none is built from them.
"""

from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

import msgspec

from cascade_rcnn.checks import LEAST, MOST, check, unknown
from cascade_rcnn.errors import UserError

Std: TypeAlias = tuple[float, float, float, float]

# What `load` and `predict` may change about a trained model.
INFERENCE = (
    *("min_size", "max_size", "score_threshold", "nms_iou", "max_detections"),
    *("test_stage", "ensemble", "ensemble_rois", "iterations", "survivors"),
)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage of the cascade: the quality u it is trained for (eq. 5) and how its targets are scaled (eq. 2).

    >>> [stage.iou for stage in load("starter").config.stages]
    [0.5, 0.6, 0.7]
    """

    iou: float = 0.5
    std: Std = (0.1, 0.1, 0.2, 0.2)
    mean: Std = (0.0, 0.0, 0.0, 0.0)
    loss_weight: float = 1.0
    lr_multiplier: float = 1.0  # of its head, to make up for the weight where the optimizer sees a loss's scale

    def __post_init__(self) -> None:
        """Raises UserError for what is no IoU, or no deviation."""
        if not 0 < self.iou < 1:
            raise UserError(f"stage_ious: {self.iou:g} is not between 0 and 1")
        if not all(0 < x < MOST for x in self.std):
            raise UserError(f"stage_stds: {self.std} has a deviation that is not above 0, or is no number")
        check(self, mean=(-MOST, MOST), loss_weight=(0, MOST), lr_multiplier=(0, MOST))


@dataclass(frozen=True, kw_only=True)
class Semantics:
    """Where the paper's text, its released code and the large reimplementations differ, one choice a field.

    The defaults are detectron2's; what each preset chooses stands in presets.py.
    """

    name: str = "detectron2"
    resample: bool = False  # later stages draw a new sample (True) or keep all boxes of stage 1
    # to the inputs of which stages; removed after each?
    append_ground_truth: Literal["first", "every", "every-removed"] = "first"
    # a stage hands no positive on that had this IoU with its object before it was moved (appended ground truth, mainly)
    drop_near_ground_truth: float | None = None
    average_pooled_gradient: bool = True  # the gradient into the pooled features is divided by the number of stages
    min_object_size: float = 0.0  # what overlaps an object narrower or lower than this is neither object nor background
    box_beta: float = 0.0  # smooth L1's beta of the heads; 0 is L1
    bias_lr_multiplier: float = 1.0  # of all biases, with SGD
    rpn_box_beta: float = 0.0
    # its box loss: a sum over the positives' coordinates, divided by the number of samples or of those coordinates
    rpn_box_normalizer: Literal["samples", "coordinates"] = "samples"
    rpn_by_level: bool = False  # each level has its own sample, and an equal share of samples and loss
    rpn_min_match_iou: float = 0.0  # an object's best anchor is positive only from this IoU on
    rpn_rescue_reassigns: bool = False  # ... and then learns that object, not the one it overlaps most
    # which the RPN is trained on, by the image's border; mostly: at most a quarter of width and height lies beyond
    rpn_anchors: Literal["all", "centre-inside", "mostly-inside", "inside"] = "all"
    clamp_shrink: bool = False  # dw and dh are clamped below too
    clip_between_stages: bool = True
    ensemble: Literal["probabilities", "logits"] = "probabilities"  # what is averaged over the stages
    ensemble_rois: Literal["last", "own"] = "own"  # all heads on the last stage's boxes, or each on its own

    def __post_init__(self) -> None:
        """Raises UserError for a number that is out of range."""
        check(self, drop_near_ground_truth=(0, 1), rpn_min_match_iou=(0, 1))
        check(self, min_object_size=(0, MOST), bias_lr_multiplier=(0, MOST))
        check(self, box_beta=(0, MOST), rpn_box_beta=(0, MOST))


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """Resizing and normalisation, done by the model (pixel values are scaled to 0..1 first)."""

    min_size: tuple[int, ...] | None = (800,)  # short side; several: one is drawn per batch in training; None: keep
    max_size: int = 1333  # the long side never exceeds this
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    bgr: bool = False
    antialias: bool = False
    round_down: bool = False  # torchvision rounds resized heights and widths down, the others to the nearest
    divisor: int = 32  # padded height and width are multiples of this

    def __post_init__(self) -> None:
        """Raises UserError for a size or deviation of 0, and the like."""
        if self.min_size == ():
            raise UserError("min_size: give a size, or None to keep images as they are")
        check(self, min_size=(1, MOST), max_size=(1, MOST), divisor=(1, 1024))
        check(self, mean=(-MOST, MOST), std=(LEAST, MOST))


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """A residual network, or VGG-16 (`depth` 16, `planes` and `frozen_stages` apply). The published widths are 64."""

    family: Literal["resnet", "vgg"] = "resnet"
    depth: Literal[16, 18, 34, 50, 101, 152] = 50
    stem: int = 64
    planes: int = 64
    dilated: bool = False  # the last layer at stride 16, its 3x3 convolutions dilated by 2 (R-FCN)
    groups: int = 1
    width_per_group: int = 64
    stride_in_1x1: bool = False  # caffe style (detectron2's MSRA weights)
    norm: Literal["frozen", "affine", "batch"] = "frozen"  # affine: fixed statistics, trained scale and shift
    fold_norm: bool = True  # compute fixed statistics as part of the convolution; False rounds as the peers do
    norm_eps: float = 1e-5  # torchvision's own COCO weights: 0
    frozen_stages: int = 2  # 0 none, 1 the stem, 2 stem and layer1, ...; VGG: conv1, conv1 and conv2, ...

    def __post_init__(self) -> None:
        """Raises UserError for a width that no network has."""
        check(self, stem=(1, 8192), planes=(1, 8192), groups=(1, 8192), width_per_group=(1, 8192))
        check(self, norm_eps=(0, 1), frozen_stages=(0, 5))


@dataclass(frozen=True, kw_only=True)
class Anchors:
    """Sizes of each level (one, or several), from P2 (stride 4) on; without a pyramid there is one level, stride 16."""

    sizes: tuple[int | tuple[int, ...], ...] = (32, 64, 128, 256, 512)
    ratios: tuple[float, ...] = (0.5, 1.0, 2.0)  # height / width
    rounded: bool = False  # torchvision rounds the corners of its base anchors
    measured_stride: bool = False  # torchvision's stride: input size / map size, rounded down (P6: often below 64)
    offset: float = 0.0  # of the first anchor's centre from the corner, in strides; the released code: .5

    def __post_init__(self) -> None:
        """Raises UserError for more anchors than a map can have, and for sizes that are none."""
        each = max((len(level) for level in self.levels), default=0)
        if not (1 <= len(self.sizes) <= 5 and 1 <= each * len(self.ratios) <= 256 and all(self.levels)):
            raise UserError(
                f"anchors: {len(self.sizes)} levels of up to {each} sizes x {len(self.ratios)} ratios; give 1 to 5 "
                "levels and at most 256 anchors at a place"
            )
        check(self, sizes=(LEAST, MOST), ratios=(1e-3, 1e3), offset=(0, 1))

    @property
    def levels(self) -> tuple[tuple[int, ...], ...]:
        """The sizes of each level, one or several."""
        return tuple((size,) if isinstance(size, int) else size for size in self.sizes)


@dataclass(frozen=True, kw_only=True)
class Rpn:
    """The region proposal network (H0)."""

    anchors: Anchors = field(default_factory=Anchors)
    channels: int | None = None  # of its 3x3 convolution; None: as many as the maps it reads
    shared: bool = True  # one set of weights for all levels; the released code has one for each
    pre_nms_train: int = 2000  # per level
    pre_nms_test: int = 1000
    post_nms_train: int = 1000  # per image
    post_nms_test: int = 1000
    nms_iou: float = 0.7
    min_size: float = 0.0  # proposals up to this width or height are dropped
    samples: int = 256
    positive_fraction: float = 0.5
    positive_iou: float = 0.7
    negative_iou: float = 0.3

    def __post_init__(self) -> None:
        """Raises UserError for a number that is out of range."""
        check(self, channels=(1, 65536), samples=(1, MOST), min_size=(0, MOST), nms_iou=(0, 1))
        check(self, **dict.fromkeys(("pre_nms_train", "pre_nms_test", "post_nms_train", "post_nms_test"), (1, MOST)))
        check(self, **dict.fromkeys(("positive_fraction", "positive_iou", "negative_iou"), (0, 1)))


@dataclass(frozen=True, kw_only=True)
class RoIAlign:
    """Region features: `resolution` x `resolution` bins, `sampling` x `sampling` points each (0: adaptive)."""

    resolution: int = 7
    sampling: int = 2
    aligned: bool = True  # half-pixel correct; torchvision's detectors use False

    def __post_init__(self) -> None:
        """Raises UserError for a number that is out of range."""
        check(self, resolution=(1, 64), sampling=(0, 64))


@dataclass(frozen=True, kw_only=True)
class BoxHead:
    """Two fully connected layers of `width` units, or R-FCN's 1x1 convolution of `width` channels and score maps."""

    kind: Literal["two_layer", "rfcn"] = "two_layer"
    width: int = 1024
    class_agnostic: bool = True

    def __post_init__(self) -> None:
        """Raises UserError for a number that is out of range."""
        check(self, width=(1, 65536))


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """RoIs per image that a stage is trained on."""

    rois: int = 512
    positive_fraction: float = 0.25

    def __post_init__(self) -> None:
        """Raises UserError for a number that is out of range."""
        check(self, rois=(1, MOST), positive_fraction=(0, 1))


@dataclass(frozen=True, kw_only=True)
class Inference:
    """From the last stage's output to detections."""

    score_threshold: float = 0.05
    nms_iou: float = 0.5
    min_size: float = 0.0  # detections up to this width or height are dropped
    max_detections: int = 100
    stage: int | None = None  # stop after this stage (1..T); None: after the last
    ensemble: bool = True  # average the classifiers of stages 1..stage, or take that stage's alone
    ensemble_rois: Literal["last", "own"] | None = None  # None: as the semantics have it
    survivors: int | None = None  # boxes an image that go on after the first stage (early rejection); None: all

    def __post_init__(self) -> None:
        """Raises UserError for a number that is out of range."""
        check(self, score_threshold=(0, 1), nms_iou=(0, 1), min_size=(0, MOST), max_detections=(1, 10000))
        check(self, stage=(1, 100), survivors=(1, MOST))


@dataclass(frozen=True, kw_only=True)
class Category:
    """A class: its id in the data set and its name. Label l (1..M) is the l-th category.

    >>> Category(id=18, name="dog").name
    'dog'
    """

    id: int = 1
    name: str = "class 1"


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Everything needed to build a detector; a checkpoint carries it as JSON.

    >>> config = load("starter").config
    >>> config.name, config.num_classes
    ('cascade_rcnn_resnet18_fpn', 1)
    """

    name: str = "faster_rcnn_resnet50_fpn"
    categories: tuple[Category, ...] = (Category(),)
    stages: tuple[Stage, ...] = (Stage(),)  # of the iterative method: one and the same, as often as it is applied
    # cascade: a head a stage (Figure 3 (a), (d)); iterative: one head, again and again (eq. 3, (b)); integral: one head
    # with a classifier for each stage's u (eq. 6, (c))
    method: Literal["cascade", "iterative", "integral"] = "cascade"
    semantics: Semantics = field(default_factory=Semantics)
    preprocess: Preprocess = field(default_factory=Preprocess)
    backbone: Backbone = field(default_factory=Backbone)
    pyramid_channels: int | None = 256  # None: no pyramid, the maps of stride 16
    rpn: Rpn = field(default_factory=Rpn)
    roi_align: RoIAlign = field(default_factory=RoIAlign)
    head: BoxHead = field(default_factory=BoxHead)
    sampling: Sampling = field(default_factory=Sampling)
    inference: Inference = field(default_factory=Inference)

    def __post_init__(self) -> None:
        """Raises UserError where there are no classes, or no stages, or not the one that is asked for."""
        check(self, pyramid_channels=(1, 65536))
        if not self.categories:
            raise UserError("categories: there are none; a model has one class or more")
        if not 1 <= len(self.stages) <= 100:
            raise UserError(f"stages: there are {len(self.stages)}; a model has 1 to 100")
        stage = self.inference.stage
        if stage is not None and stage > len(self.stages):
            raise UserError(f"test_stage={stage}: this model has stages 1 to {len(self.stages)}")

    @property
    def num_classes(self) -> int:
        """M, without background."""
        return len(self.categories)

    def to_json(self) -> str:
        """The config as JSON text."""
        return msgspec.json.encode(self).decode()

    def with_inference(self, **changes: Any) -> "ModelConfig":
        """A copy with other values of what does not touch the weights; raises UserError for anything else."""
        iterations = changes.pop("iterations", None)
        if iterations is not None:
            return self._iterated(iterations).with_inference(**changes)
        preprocess, inference = {}, {}
        for name, value in changes.items():
            if name == "min_size":
                preprocess[name] = (value,) if isinstance(value, int) else value
            elif name == "max_size":
                preprocess[name] = value
            elif name in ("score_threshold", "nms_iou", "max_detections", "ensemble", "ensemble_rois"):
                inference[name] = value
            elif name == "survivors":
                if value is not None and value < 1:
                    raise UserError(f"survivors={value}: give 1 or more, or None for all")
                inference[name] = value
            elif name == "test_stage":
                if value is not None and not 1 <= value <= len(self.stages):
                    raise UserError(f"test_stage={value}: this model has stages 1 to {len(self.stages)}")
                inference["stage"] = value
            else:
                raise UserError(f"'{name}' cannot be changed after training; the options are {', '.join(INFERENCE)}")
        return replace(
            self, preprocess=replace(self.preprocess, **preprocess), inference=replace(self.inference, **inference)
        )

    def _iterated(self, number: int) -> "ModelConfig":
        """The config of a baseline, its head applied that often (eq. 3); of one iteration, the baseline's own."""
        if self.method != "iterative" and len(self.stages) > 1:
            raise UserError(f"iterations={number}: this model has {len(self.stages)} stages; only baselines iterate")
        if number < 1:
            raise UserError(f"iterations={number}: give 1 or more")
        inference = self.inference
        if inference.stage is not None and inference.stage > number:
            inference = replace(inference, stage=None)
        method = "cascade" if number == 1 else "iterative"
        return replace(self, method=method, stages=self.stages[:1] * number, inference=inference)

    @classmethod
    def from_json(cls, text: str | bytes) -> "ModelConfig":
        """Inverse of `to_json`. Raises UserError naming the field that does not fit, or is not known."""
        try:
            given = msgspec.json.decode(text)
            config = msgspec.convert(given, cls)
        except (msgspec.DecodeError, RecursionError) as error:
            raise UserError(f"the model config does not fit this version of cascade-rcnn: {error}") from None
        if (name := unknown(given, msgspec.to_builtins(config))) is not None:
            raise UserError(
                f"the model config does not fit this version of cascade-rcnn: it holds a field {name}; was the "
                "checkpoint written by a newer version? then update the package"
            )
        return config


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
    head_width: int | None = None  # 1024 (fully connected units; R-FCN: channels), VGG 2048
    anchor_sizes: tuple[int, ...] | None = None  # one a pyramid level, from P2 on; without a pyramid all on one level
    anchor_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    # boxes an image that enter the cascade; 1000 (in training by the preset up to 6000), without a pyramid 300 (4000)
    proposals: int | None = None
    rois: int | None = None  # ... of which this many are trained on; 512, VGG 128, R-FCN 256
    # short side; several: drawn per batch in training; None: images as they are; default: 800, without a pyramid 600
    min_size: int | tuple[int, ...] | Literal["default"] | None = "default"
    max_size: int | None = None  # long side; 1333, without a pyramid 1000
    trainable_layers: int | None = None  # of the backbone's 5 (torchvision's count); 3 with pretrained weights, else 5
    score_threshold: float | None = None
    nms_iou: float = 0.5
    max_detections: int = 100
    test_stage: int | None = None  # detections are taken after this stage (iteration; integral: classifier)
    ensemble: bool = True  # average the classifiers of all stages up to there
    ensemble_rois: Literal["last", "own"] | None = None  # all on the last stage's boxes, or each on its own
    survivors: int | None = None  # boxes an image that go on after the first stage (early rejection); None: all
