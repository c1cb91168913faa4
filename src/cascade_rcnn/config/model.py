"""The model config, which is stored in checkpoints.

Every field has a default, so that older checkpoints may lack newer fields. Creating a config with invalid numbers
raises UserError.
"""

from typing import Any, ClassVar, Literal, TypedDict

import msgspec
from msgspec.structs import replace

from cascade_rcnn.arguments import typed
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
from cascade_rcnn.config.tasks import MaskConfig, RoITaskConfig
from cascade_rcnn.errors import UserError, nearest


class InferenceOptions(TypedDict, total=False):
    """Settings of a trained model that can be changed when it is loaded."""

    min_size: int | tuple[int, ...] | None  # short side in pixels; None: no resizing
    max_size: int  # long side
    score_threshold: float
    nms_iou: float
    agnostic_nms: bool  # boxes of different classes suppress each other as well
    max_detections: int
    test_stage: int | None  # the stage that produces the detections; None: the last
    ensemble: bool  # average the classifiers of all stages up to `test_stage`
    ensemble_rois: Literal["last", "own"] | None  # run them all on the last stage's boxes, or each on its own input
    iterations: int  # how often to apply the head of a model with a single one
    survivors: int | None  # boxes per image kept after the first stage; None: all


INFERENCE = tuple(InferenceOptions.__annotations__)
_OF_PREPROCESSING = ("min_size", "max_size")


class Category(Config, frozen=True, kw_only=True):
    """A class: its id in the dataset and its name. Label l (1..M) is the l-th category.

    >>> Category(id=18, name="dog").name
    'dog'
    """

    id: int = 1
    name: str = "class 1"

    def __post_init__(self) -> None:
        """Raise UserError for an id or name of another type, which could not be saved."""
        if type(self.id) is not int or type(self.name) is not str:
            raise UserError(f"Category has id {self.id!r} and name {self.name!r}; give an int and a str")


class PreprocessConfig(Config, frozen=True, kw_only=True):
    """Resizing and normalisation in the model (pixel values are first scaled to 0..1)."""

    min_size: tuple[int, ...] | None = (800,)  # short side; of several, training draws one per batch; None: no resizing
    max_size: int = 1333  # maximum long side
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    bgr: bool = False
    antialias: bool = False
    round_down: bool = False  # torchvision rounds resized heights and widths down, other frameworks to the nearest
    divisor: int | None = None  # of padded height and width; None: the coarsest stride of backbone and pyramid
    square: int | None = None  # pad to a square with at least this side; None: pad to a rectangle

    def __post_init__(self) -> None:
        """Raise UserError for invalid sizes, means or standard deviations."""
        if self.min_size == ():
            raise UserError("min_size: give a size, or None to keep images as they are")
        check(self, min_size=(1, MOST), max_size=(1, MOST), divisor=(1, 1024), square=(1, MOST))
        check(self, mean=(-MOST, MOST), std=(LEAST, MOST))


class InferenceConfig(Config, frozen=True, kw_only=True):
    """Options of inference and postprocessing."""

    limits: ClassVar = {
        "score_threshold": (0, 1),
        "nms_iou": (0, 1),
        "min_size": (0, MOST),
        "max_detections": (1, 10000),
        "stage": (1, 100),
        "survivors": (1, MOST),
    }

    score_threshold: float = 0.05
    nms_iou: float = 0.5
    agnostic_nms: bool = False  # whether boxes of different classes suppress each other, too
    min_size: float = 0.0  # detections are dropped unless width and height exceed this
    max_detections: int = 100
    stage: int | None = None  # stop after this stage (1..T); None: after the last
    ensemble: bool = True  # average the classifiers of stages 1..stage, or use only that stage's
    ensemble_rois: Literal["last", "own"] | None = None  # None: as the semantics define it
    survivors: int | None = None  # boxes per image kept after the first stage (early rejection); None: all


class ModelConfig(Config, frozen=True, kw_only=True):
    """Everything needed to build a detector; stored in checkpoints as JSON.

    >>> config = load("starter").config
    >>> config.name, config.num_classes
    ('cascade_rcnn_resnet18_fpn', 1)
    """

    name: str = "faster_rcnn_resnet50_fpn"
    categories: tuple[Category, ...] = (Category(),)
    stages: tuple[StageConfig, ...] = (StageConfig(),)  # iterative: the same stage, repeated for each iteration
    # cascade: one head per stage (Figure 3 (a), (d)); iterative: one head, applied repeatedly (eq. 3, (b)); integral:
    # one head with a classifier for each stage's u (eq. 6, (c))
    method: Literal["cascade", "iterative", "integral"] = "cascade"
    semantics: SemanticsConfig = SemanticsConfig()
    preprocess: PreprocessConfig = PreprocessConfig()
    backbone: BackboneConfig = ResNetConfig()
    pyramid: PyramidConfig = FPNConfig()
    rpn: RPNConfig = RPNConfig()
    roi_align: RoIAlignConfig = RoIAlignConfig()
    box_head: BoxHeadConfig = ConvFCHeadConfig()
    box_loss: BoxLossConfig = SmoothL1Config()
    # softmax: exclusive classes; sigmoid: independent classes, as in published LVIS detectors
    classification: Literal["softmax", "sigmoid"] = "softmax"
    tasks: tuple[RoITaskConfig, ...] = ()  # predictions beyond classes and boxes, such as masks
    sampling: SamplingConfig = SamplingConfig()
    inference: InferenceConfig = InferenceConfig()

    def __post_init__(self) -> None:
        """Raise UserError if there are no classes or stages, or `inference.stage` or a mask's stage does not exist."""
        if not self.categories:
            raise UserError("categories: there are none; a model needs at least one class")
        if not 1 <= len(self.stages) <= 100:
            raise UserError(f"stages: there are {len(self.stages)}; a model has 1 to 100")
        stage = self.inference.stage
        if stage is not None and stage > len(self.stages):
            raise UserError(f"test_stage={stage}: this model has stages 1 to {len(self.stages)}")
        trained = 1 if self.method != "cascade" else len(self.stages)
        for task in self.tasks:
            if max(task.stages) > trained:
                raise UserError(f"masks: stage {max(task.stages)} is not trained; this model trains 1 to {trained}")

    @property
    def num_classes(self) -> int:
        """M, the number of classes without background."""
        return len(self.categories)

    @property
    def class_names(self) -> list[str]:
        """The names of labels 1..M, in order."""
        return [category.name for category in self.categories]

    @property
    def has_masks(self) -> bool:
        """Whether the model predicts masks."""
        return any(isinstance(task, MaskConfig) for task in self.tasks)

    @property
    def pastes_whole_pixels(self) -> bool:
        """Whether masks are pasted into boxes of whole pixels, as in torchvision."""
        return any(isinstance(task, MaskConfig) and task.paste == "whole-pixels" for task in self.tasks)

    def to_json(self) -> str:
        """Return the config as JSON."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def from_json(cls, text: str | bytes, format: int | None = None) -> "ModelConfig":  # noqa: A002
        """Parse JSON written by `to_json`; `format` is the file's format (None: the current one).

        Raises UserError naming an invalid or unknown field.
        """
        from cascade_rcnn.config.migrations import FORMAT, migrate

        try:
            return msgspec.convert(migrate(msgspec.json.decode(text), FORMAT if format is None else format), cls)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise UserError(
                f"the model config does not fit this version of cascade-rcnn: {error}; if the checkpoint is "
                "from a newer version, update the package"
            ) from None

    def with_inference(self, **changes: Any) -> "ModelConfig":
        """Return a copy with changes to options that do not affect the weights. Raises UserError for other options."""
        for name in changes:
            if name not in INFERENCE:
                hint = nearest(name, INFERENCE)
                raise UserError(
                    f"'{name}' cannot be changed after training{hint}; the options are {', '.join(INFERENCE)}"
                )
        given = typed(changes, InferenceOptions)
        config = self._iterated(given.pop("iterations")) if "iterations" in given else self
        preprocess = {name: given.pop(name) for name in _OF_PREPROCESSING if name in given}
        if isinstance(preprocess.get("min_size"), int):
            preprocess["min_size"] = (preprocess["min_size"],)
        if "test_stage" in given:
            stage = given["stage"] = given.pop("test_stage")
            if stage is not None and not 1 <= stage <= len(config.stages):
                raise UserError(f"test_stage={stage}: this model has stages 1 to {len(config.stages)}")
        return replace(
            config,
            preprocess=replace(config.preprocess, **preprocess),
            inference=replace(config.inference, **given),
        )

    def _iterated(self, number: int) -> "ModelConfig":
        """Return a copy that applies its only head repeatedly (eq. 3); one iteration is the single-stage model."""
        if self.method != "iterative" and len(self.stages) > 1:
            raise UserError(
                f"iterations={number}: this model has {len(self.stages)} stages; only single-stage models can iterate"
            )
        if number < 1:
            raise UserError(f"iterations={number}: give 1 or more")
        inference = self.inference
        if inference.stage is not None and inference.stage > number:
            inference = replace(inference, stage=None)
        method = "cascade" if number == 1 else "iterative"
        return replace(self, method=method, stages=self.stages[:1] * number, inference=inference)
