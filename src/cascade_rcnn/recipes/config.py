"""The type of a training recipe, with its data and optimizer settings.

Every field is a flag of `cascade-rcnn train RECIPE --...`.
"""

from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

from tyro.constructors import PrimitiveConstructorSpec

from cascade_rcnn.config import ModelOptions
from cascade_rcnn.config.augmentation import HorizontalFlipConfig, ScaleJitterConfig
from cascade_rcnn.config.augmentation_lists import Augmentations, parse, with_short_forms, words

# Options that also apply if training starts from a checkpoint, which determines all others.
APPLIED_TO_START = ("min_size", "max_size", "anchor_sizes", "anchor_ratios")

# On the command line, augmentations are words rather than one flag per setting.
_WORDS = PrimitiveConstructorSpec(
    nargs="*",
    metavar="NAME[:SETTING=VALUE,...]",
    instance_from_str=parse,
    is_instance=lambda given: isinstance(given, tuple),
    str_from_instance=words,
)


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """The training data: COCO json, PASCAL VOC or YOLO, detected from the path.

    >>> DataConfig(train="shapes/train.json", val="shapes/val.json").val_split is None
    True
    """

    train: str = ""  # annotations: a COCO .json, a VOC folder or ImageSets .txt, a YOLO data.yaml
    train_images: str | None = None  # folder of images, if the format does not name it
    train_split: str | None = None  # name of the split, for VOC and YOLO folders
    val: str = ""  # the same for validation; empty: no evaluation
    val_images: str | None = None
    val_split: str | None = None
    # repeat images with classes that fewer than this fraction of images contain (LVIS: 0.001); 0: off
    repeat_rare: float = 0.0
    # Short forms of `augmentation`, to which a recipe moves them:
    flip: float | None = None  # probability of `horizontal_flip`
    photometric: float | None = None  # probability of `color`
    jitter: tuple[float, float] | None = None  # scale of `scale_jitter`, such as 0.1 2.0
    jitter_size: int = 1024  # size of `scale_jitter`; train with the same min_size and max_size
    bad_images: Literal["stop", "skip"] = "stop"  # report all unusable images and stop, or skip them
    max_megapixels: float = 179  # larger images are unusable


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """SGD or AdamW, and the learning rate schedule.

    >>> OptimizerConfig(name="adamw", lr=1e-4, schedule="cosine").warmup_steps
    500
    """

    name: Literal["sgd", "adamw"] = "sgd"
    lr: float = 0.02  # for `lr_batch` images per step; scaled linearly to the actual batch size
    lr_batch: int = 16
    momentum: float = 0.9
    weight_decay: float = 1e-4
    clip_norm: float = 35.0  # maximum gradient norm
    warmup_steps: int = 500
    warmup_factor: float = 0.001  # the learning rate starts at this fraction
    layer_decay: float = 1.0  # learning rate of a backbone layer relative to the layer above it
    schedule: Literal["step", "cosine"] = "step"
    drops: tuple[float, ...] = (2 / 3, 11 / 12)  # step: divide it by 10 after these fractions of the training run


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A complete training configuration.

    >>> from dataclasses import replace
    >>> recipe = replace(find_recipe("small"), epochs=3, batch_size=8)
    >>> recipe.model, recipe.epochs
    ('cascade_rcnn_resnet18_fpn', 3)
    """

    model: str = "cascade_rcnn_resnet50_fpn"
    weights_backbone: str | None = "imagenet"  # or a local file; None: random initialisation
    init: str | None = None  # a checkpoint to start from, instead of `model`, `options` and `weights_backbone`
    options: ModelOptions = field(default_factory=ModelOptions)
    data: DataConfig = field(default_factory=DataConfig)
    augmentation: Annotated[Augmentations, _WORDS] = (HorizontalFlipConfig(),)  # applied in this order
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    epochs: int = 12
    batch_size: int = 2  # images per device and step
    accumulate: int = 1  # steps whose gradients are accumulated for one update
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"  # auto: bf16 if the hardware supports it
    ema: float | None = None  # decay of averaged weights, which are then evaluated and saved, such as 0.998
    devices: int = 1  # number of processes, one per GPU (or CPU); torchrun overrides it
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"  # mps: Apple's GPU
    workers: int = 2  # image decoding processes per device
    evaluate_every: int = 1  # epochs; 0: never
    patience: int = 0  # stop after this many evaluations without a better AP; 0: never
    save_every: int = 0  # also save the training state every so many updates, besides after each epoch; 0: never
    seed: int = 0
    output: str = "runs/train"

    def __post_init__(self) -> None:
        """Move the short forms in `data` to `augmentation`, which is the only field that training reads."""
        data = self.data
        jitter = None if data.jitter is None else ScaleJitterConfig(scale=data.jitter, size=data.jitter_size)
        moved = with_short_forms(self.augmentation, data.flip, data.photometric, jitter)
        default = DataConfig()
        short = {name: getattr(default, name) for name in ("flip", "photometric", "jitter", "jitter_size")}
        object.__setattr__(self, "augmentation", moved)
        object.__setattr__(self, "data", replace(data, **short))
