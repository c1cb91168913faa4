"""What a model is, as data; a checkpoint carries it.

Every field has a default, so that a checkpoint may lack those that came later; numbers that no model can have are
refused where a config is made, so that none is built from them.
"""

from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from cascade_rcnn.config.backbones import BackboneConfig, ResNetConfig
from cascade_rcnn.config.checks import LEAST, MOST, Config, check
from cascade_rcnn.config.heads import (
    BoxHeadConfig,
    ConvFCHeadConfig,
    RoIAlignConfig,
    SamplingConfig,
    SemanticsConfig,
    StageConfig,
)
from cascade_rcnn.config.losses import BoxLossConfig, SmoothL1Config
from cascade_rcnn.config.pyramids import FPNConfig, PyramidConfig
from cascade_rcnn.config.rpn import RPNConfig
from cascade_rcnn.errors import UserError

# What `load` and `predict` may change about a trained model.
INFERENCE = (
    *("min_size", "max_size", "score_threshold", "nms_iou", "max_detections"),
    *("test_stage", "ensemble", "ensemble_rois", "iterations", "survivors"),
)


class Category(Config, frozen=True, kw_only=True):
    """A class: its id in the dataset and its name. Label l (1..M) is the l-th category.

    >>> Category(id=18, name="dog").name
    'dog'
    """

    id: int = 1
    name: str = "class 1"


class PreprocessConfig(Config, frozen=True, kw_only=True):
    """Resizing and normalisation, done by the model (pixel values are scaled to 0..1 first)."""

    min_size: tuple[int, ...] | None = (800,)  # short side; several: one is drawn per batch in training; None: keep
    max_size: int = 1333  # the long side never exceeds this
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    bgr: bool = False
    antialias: bool = False
    round_down: bool = False  # torchvision rounds resized heights and widths down, the others to the nearest
    divisor: int | None = None  # padded height and width are multiples of it; None: the backbone's coarsest stride

    def __post_init__(self) -> None:
        """Raises UserError for a size or deviation of 0, and the like."""
        if self.min_size == ():
            raise UserError("min_size: give a size, or None to keep images as they are")
        check(self, min_size=(1, MOST), max_size=(1, MOST), divisor=(1, 1024))
        check(self, mean=(-MOST, MOST), std=(LEAST, MOST))


class InferenceConfig(Config, frozen=True, kw_only=True):
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


class ModelConfig(Config, frozen=True, kw_only=True):
    """Everything needed to build a detector; a checkpoint carries it as JSON.

    >>> config = load("starter").config
    >>> config.name, config.num_classes
    ('cascade_rcnn_resnet18_fpn', 1)
    """

    name: str = "faster_rcnn_resnet50_fpn"
    categories: tuple[Category, ...] = (Category(),)
    stages: tuple[StageConfig, ...] = (StageConfig(),)  # iterative: one and the same, as often as it is applied
    # cascade: a head a stage (Figure 3 (a), (d)); iterative: one head, again and again (eq. 3, (b)); integral: one head
    # with a classifier for each stage's u (eq. 6, (c))
    method: Literal["cascade", "iterative", "integral"] = "cascade"
    semantics: SemanticsConfig = SemanticsConfig()
    preprocess: PreprocessConfig = PreprocessConfig()
    backbone: BackboneConfig = ResNetConfig()
    pyramid: PyramidConfig = FPNConfig()
    rpn: RPNConfig = RPNConfig()
    roi_align: RoIAlignConfig = RoIAlignConfig()
    box_head: BoxHeadConfig = ConvFCHeadConfig()
    box_loss: BoxLossConfig = SmoothL1Config()
    sampling: SamplingConfig = SamplingConfig()
    inference: InferenceConfig = InferenceConfig()

    def __post_init__(self) -> None:
        """Raises UserError if there are no classes, or no stages, or not the one that is asked for."""
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

    @classmethod
    def from_json(cls, text: str | bytes, format: int | None = None) -> "ModelConfig":  # noqa: A002
        """Inverse of `to_json`; `format` is that of the file it stood in (None: today's).

        Raises UserError naming the field that does not fit, or is not known.
        """
        from cascade_rcnn.config.migrations import FORMAT, migrate

        try:
            return msgspec.convert(migrate(msgspec.json.decode(text), FORMAT if format is None else format), cls)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise UserError(
                f"the model config does not fit this version of cascade-rcnn: {error}; was the checkpoint written by a "
                "newer version? then update the package"
            ) from None

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
