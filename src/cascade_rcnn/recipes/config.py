"""The type of a training recipe, with its data and optimizer settings.

Every field is a flag of `cascade-rcnn train RECIPE --...`.
"""

import math
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

from tyro.constructors import PrimitiveConstructorSpec

from cascade_rcnn.config import ModelOptions
from cascade_rcnn.config.augmentation import HorizontalFlipConfig, ScaleJitterConfig
from cascade_rcnn.config.augmentation_lists import Augmentations, parse, with_short_forms, words

# On the command line, augmentations are given as words rather than one flag per setting.
_WORDS = PrimitiveConstructorSpec(
    nargs="*",
    metavar="NAME[:SETTING=VALUE,...]",
    instance_from_str=parse,
    is_instance=lambda given: isinstance(given, tuple),
    str_from_instance=words,
)


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Training and validation data. The format (COCO json, PASCAL VOC or YOLO) is detected from the path.

    >>> DataConfig(train="shapes/train.json", val="shapes/val.json").val_split is None
    True
    """

    train: str = ""  # training annotations: a COCO .json, a VOC folder or ImageSets .txt, or a YOLO data.yaml
    train_images: str | None = None  # folder of the images, if the annotations do not name it
    train_split: str | None = None  # split to use, if there are several
    val: str = ""  # validation annotations; empty: no evaluation
    val_images: str | None = None  # folder of the validation images, if the annotations do not name it
    val_split: str | None = None  # validation split to use, if there are several
    # repeat images with classes that occur in less than this fraction of the images (LVIS: 0.001); 0: off
    repeat_rare: float = 0.0
    # Short forms, which a recipe moves to its `augmentation`:
    flip: float | None = None  # probability of `horizontal_flip`
    photometric: float | None = None  # probability of `color`
    jitter: tuple[float, float] | None = None  # scale range of `scale_jitter`, such as 0.1 2.0
    jitter_size: int = 1024  # size of `scale_jitter`; use the same min_size and max_size
    bad_images: Literal["stop", "skip"] = "stop"  # report unusable images and stop, or skip them
    max_megapixels: float = 179  # larger images are unusable


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """Optimizer (SGD or AdamW) and learning rate schedule.

    >>> OptimizerConfig(name="adamw", lr=1e-4, schedule="cosine").warmup_steps
    500
    """

    name: Literal["sgd", "adamw"] = "sgd"
    lr: float = 0.02  # learning rate for `lr_batch` images per update; scaled linearly to the actual number
    lr_batch: int = 16
    momentum: float = 0.9  # of SGD
    weight_decay: float = 1e-4
    clip_norm: float | None = 35.0  # maximum gradient norm; None: no clipping
    warmup_steps: int = 500  # updates with linearly increasing learning rate
    warmup_factor: float = 0.001  # fraction of the learning rate at the first update
    layer_decay: float = 1.0  # learning rate of each backbone layer relative to the next one
    schedule: Literal["step", "cosine"] = "step"
    drops: tuple[float, ...] = (2 / 3, 11 / 12)  # step: divide the learning rate by 10 after these fractions of the run

    def __post_init__(self) -> None:
        """Take an infinite norm, which JSON lacks, for none."""
        if self.clip_norm == math.inf:
            object.__setattr__(self, "clip_norm", None)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A complete training configuration.

    >>> from dataclasses import replace
    >>> recipe = replace(find_recipe("small"), epochs=3, batch_size=8)
    >>> recipe.model, recipe.epochs
    ('cascade_rcnn_resnet18_fpn', 3)
    """

    model: str = "cascade_rcnn_resnet50_fpn"  # one of `cascade_rcnn.list_models()`
    weights_backbone: str | None = "imagenet"  # imagenet or a local file; None: random initialisation
    init: str | None = None  # checkpoint to start from, instead of `model`, `options` and `weights_backbone`
    options: ModelOptions = field(default_factory=ModelOptions)  # of the model; None: the default of its architecture
    data: DataConfig = field(default_factory=DataConfig)  # training and validation data, in any supported format
    augmentation: Annotated[Augmentations, _WORDS] = (HorizontalFlipConfig(),)  # in the order of application
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)  # optimizer and learning rate schedule
    epochs: int = 12
    batch_size: int = 2  # images per device and step
    accumulate: int = 1  # number of steps whose gradients are accumulated per update
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"  # auto: bf16 if the hardware supports it
    ema: float | None = None  # decay of averaged weights (such as 0.998), which are then evaluated and saved
    devices: int = 1  # number of processes, one per GPU (or CPU); torchrun overrides it
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"  # mps: Apple's GPU
    workers: int = 2  # data loading processes per device
    evaluate_every: int = 1  # number of epochs between evaluations; 0: never
    patience: int = 0  # stop after this many evaluations without a better AP; 0: never
    save_every: int = 0  # number of updates between saved training states; 0: save only after each epoch
    seed: int = 0
    output: str = "runs/train"  # folder of the run

    def __post_init__(self) -> None:
        """Move the short forms in `data` to `augmentation`, the only field that training reads."""
        data = self.data
        jitter = None if data.jitter is None else ScaleJitterConfig(scale=data.jitter, size=data.jitter_size)
        moved = with_short_forms(self.augmentation, data.flip, data.photometric, jitter)
        default = DataConfig()
        short = {name: getattr(default, name) for name in ("flip", "photometric", "jitter", "jitter_size")}
        object.__setattr__(self, "augmentation", moved)
        object.__setattr__(self, "data", replace(data, **short))


def applied_to_start(options: ModelOptions) -> dict[str, Any]:
    """Return the options that also apply if training starts from a checkpoint, which determines all others.

    Their defaults stand for the checkpoint's own values.
    """
    default = ModelOptions()
    names = ("min_size", "max_size", "anchor_sizes", "anchor_ratios", "drop_path", "checkpointing", "trainable_layers")
    return {name: value for name in names if (value := getattr(options, name)) != getattr(default, name)}
