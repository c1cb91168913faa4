"""Training recipes: one function per recipe returns a frozen config, and its docstring says what to expect.

Every field is a flag of `cascade-rcnn train RECIPE --...`. The paper's recipes follow sections 5.1.1 and 5.5.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from tyro.constructors import PrimitiveConstructorSpec

from cascade_rcnn.config import ModelOptions
from cascade_rcnn.config.augmentation import ColorConfig, HorizontalFlipConfig, ScaleJitterConfig
from cascade_rcnn.config.augmentation_lists import Augmentations, parse, with_short_forms, words
from cascade_rcnn.errors import UserError
from cascade_rcnn.files import read_json

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


def cascade_rcnn_r50() -> Recipe:
    """FPN+ ResNet-50 with the three-stage cascade, COCO, the common 1x schedule.

    cascade-rcnn train cascade_rcnn_r50 --devices 8 --data.train instances_train2017.json --data.val ...
    8 GPUs x 2 images. AP published elsewhere for this schedule: 40.3 (mmdetection); not yet measured here.
    """
    return Recipe(model="cascade_rcnn_resnet50_fpn", output="runs/cascade_rcnn_r50")


def faster_rcnn_r50() -> Recipe:
    """The baseline of `cascade_rcnn_r50`: same data, schedule and head, but one stage.

    cascade-rcnn train faster_rcnn_r50 --devices 8 --data.train instances_train2017.json --data.val ...
    """
    return Recipe(model="faster_rcnn_resnet50_fpn", output="runs/faster_rcnn_r50")


def _paper(model: str, output: str) -> Recipe:
    """Section 5.5: 280k iterations of 8 images, learning rate 0.005, divided by 10 at 160k and 240k, 512 RoIs."""
    return Recipe(
        model=model,
        options=ModelOptions(semantics="paper", rois=512, max_size=1312),
        optimizer=OptimizerConfig(lr=0.005, lr_batch=8, drops=(160 / 280, 240 / 280)),
        augmentation=(HorizontalFlipConfig(), ColorConfig()),
        epochs=19,  # 118k images: 280k iterations of 8
        batch_size=1,
        precision="fp32",
        output=output,
    )


def paper_cascade_r50() -> Recipe:
    """Table 6, FPN+ ResNet-50 with cascade, the authors' schedule; they published AP 40.3 on COCO val.

    cascade-rcnn train paper_cascade_r50 --devices 8 --data.train instances_train2017.json --data.val ...
    8 GPUs x 1 image, 280k iterations; not yet measured here.
    """
    return _paper("cascade_rcnn_resnet50_fpn", "runs/paper_cascade_r50")


def paper_faster_r50() -> Recipe:
    """Table 6, FPN+ ResNet-50 baseline, the authors' schedule; they published AP 36.5 on COCO val."""
    return _paper("faster_rcnn_resnet50_fpn", "runs/paper_faster_r50")


def paper_cascade_r101() -> Recipe:
    """Table 6, FPN+ ResNet-101 with cascade, the authors' schedule; they published AP 42.7 on COCO val."""
    return _paper("cascade_rcnn_resnet101_fpn", "runs/paper_cascade_r101")


def paper_faster_r101() -> Recipe:
    """Table 6, FPN+ ResNet-101 baseline, the authors' schedule; they published AP 38.5 on COCO val."""
    return _paper("faster_rcnn_resnet101_fpn", "runs/paper_faster_r101")


def paper_ablation() -> Recipe:
    """The ablations of section 5 (Tables 1 to 4): FPN+ ResNet-50 with 256 RoIs; the published cascade has AP 38.9.

    cascade-rcnn study run table1 --recipe paper_ablation --batch-size 8 --data.train instances_train2017.json ...
    180k iterations of 8 images (section 5.1.1), learning rate 0.005, divided by 10 at 120k; not yet measured here.
    """
    recipe = _paper("cascade_rcnn_resnet50_fpn", "runs/paper_ablation")
    options = replace(recipe.options, rois=256)
    return replace(recipe, options=options, optimizer=replace(recipe.optimizer, drops=(120 / 180,)), epochs=12)


def _paper_vgg(model: str, output: str) -> Recipe:
    """Released code: 100k iterations of 2 x 4 images, learning rate 0.003 (paper: 0.002), dropped at 60k and 90k."""
    recipe = _paper(model, output)
    optimizer = replace(recipe.optimizer, lr=0.003, drops=(0.6, 0.9), weight_decay=5e-4)
    return replace(recipe, options=ModelOptions(semantics="paper"), optimizer=optimizer, epochs=7, batch_size=4)


def paper_cascade_vgg() -> Recipe:
    """Table 6, Faster R-CNN VGG-16 with cascade, the authors' schedule; they published AP 27.0 on COCO val.

    cascade-rcnn train paper_cascade_vgg --devices 2 --data.train instances_train2017.json --data.val ...
    2 GPUs x 4 images; the fully connected layers are initialised randomly (the paper prunes the ImageNet weights).
    """
    return _paper_vgg("cascade_rcnn_vgg16", "runs/paper_cascade_vgg")


def paper_faster_vgg() -> Recipe:
    """Table 6, Faster R-CNN VGG-16 baseline, the authors' schedule; they published AP 23.6 on COCO val."""
    return _paper_vgg("faster_rcnn_vgg16", "runs/paper_faster_vgg")


def _paper_rfcn(model: str, output: str) -> Recipe:
    """Section 5.1.1: 280k iterations of 4 x 1 images, learning rate 0.003, divided by 10 at 160k and 240k, 256 RoIs."""
    recipe = _paper(model, output)
    optimizer = replace(recipe.optimizer, lr=0.003, lr_batch=4)
    return replace(recipe, options=ModelOptions(semantics="paper"), optimizer=optimizer, epochs=9)


def paper_cascade_rfcn_r50() -> Recipe:
    """Table 6, R-FCN ResNet-50 with cascade, the authors' schedule; they published AP 31.1 on COCO val.

    cascade-rcnn train paper_cascade_rfcn_r50 --devices 4 --data.train instances_train2017.json --data.val ...
    4 GPUs x 1 image, 266k iterations (whole epochs); not yet measured here.
    """
    return _paper_rfcn("cascade_rfcn_resnet50", "runs/paper_cascade_rfcn_r50")


def paper_rfcn_r50() -> Recipe:
    """Table 6, R-FCN ResNet-50 baseline, the authors' schedule; they published AP 27.0 on COCO val."""
    return _paper_rfcn("rfcn_resnet50", "runs/paper_rfcn_r50")


def paper_cascade_rfcn_r101() -> Recipe:
    """Table 6, R-FCN ResNet-101 with cascade, the authors' schedule; they published AP 33.3 on COCO val."""
    return _paper_rfcn("cascade_rfcn_resnet101", "runs/paper_cascade_rfcn_r101")


def paper_rfcn_r101() -> Recipe:
    """Table 6, R-FCN ResNet-101 baseline, the authors' schedule; they published AP 30.3 on COCO val."""
    return _paper_rfcn("rfcn_resnet101", "runs/paper_rfcn_r101")


_PUBLISHED_SIZES = tuple(range(480, 801, 32))  # short sides in the training of DETR, Swin and many others


def finetune() -> Recipe:
    """Your own data on one GPU, starting from the strongest published cascade with a ResNet-50 (COCO AP 44.8).

    cascade-rcnn train finetune --data FOLDER
    A few hundred images are enough to start with; raise --epochs for fewer, lower it for tens of thousands, or let
    `train auto` choose. The weights (310 MB) are downloaded on first use; without a network, use --init starter, or
    --init None --weights-backbone FILE for ImageNet weights. Not yet run with the published weights.
    """
    return Recipe(
        init="mmdet/cascade-mask-rcnn_r50_fpn_rsb-pretrain_1x_coco",
        augmentation=(HorizontalFlipConfig(), ColorConfig()),
        optimizer=OptimizerConfig(
            name="adamw", lr=1e-4, lr_batch=8, weight_decay=0.05, clip_norm=1.0, warmup_steps=100, schedule="cosine"
        ),
        epochs=24,
        batch_size=8,
        ema=0.998,
        output="runs/finetune",
    )


def finetune_convnext() -> Recipe:
    """Your own data on one GPU, starting from the published ConvNeXt-T cascade (COCO AP 50.3; 4conv1fc heads, GIoU).

    cascade-rcnn train finetune_convnext --data FOLDER
    Learning rate, weight decay, layer decay, warm-up and image sizes follow the published training run (16 images per
    step, 36 epochs of COCO), without its random crops; epochs, schedule and averaging follow `finetune`. Not yet run.
    """
    recipe = finetune()
    return replace(
        recipe,
        init="mmdet/cascade-mask-rcnn_convnext-t-p4-w7_fpn_4conv1fc-giou_amp-ms-crop-3x_coco",
        options=ModelOptions(min_size=_PUBLISHED_SIZES, max_size=1333),
        augmentation=(HorizontalFlipConfig(),),
        optimizer=replace(recipe.optimizer, lr=2e-4, lr_batch=16, layer_decay=0.7),
        batch_size=4,
        output="runs/finetune_convnext",
    )


def finetune_swin() -> Recipe:
    """Your own data on one GPU, starting from the published Swin-T cascade (COCO AP 50.4; 4conv1fc heads, GIoU).

    cascade-rcnn train finetune_swin --data FOLDER
    Learning rate, weight decay and image sizes follow the published training run (16 images per step, 36 epochs of
    COCO), without its random crops; epochs, schedule and averaging follow `finetune`. Not yet run.
    """
    recipe = finetune_convnext()
    return replace(
        recipe,
        init="swin/cascade_mask_rcnn_swin_tiny_patch4_window7",
        optimizer=replace(recipe.optimizer, lr=1e-4, layer_decay=1.0),
        output="runs/finetune_swin",
    )


def finetune_vit() -> Recipe:
    """Your own data on one large GPU, starting from the published ViTDet-B cascade (COCO AP 54.0; 4conv1fc heads).

    cascade-rcnn train finetune_vit --data FOLDER
    Learning rate, weight decay, layer decay and large-scale jitter follow the published training run (64 images per
    step, 100 epochs of COCO); the learning rate is for 16 images, since scaled down from 64 to a few images it would be
    too low for new classes. Epochs, schedule and averaging follow `finetune`. Not yet run.
    """
    recipe = finetune()
    return replace(
        recipe,
        init="detectron2/cascade_mask_rcnn_vitdet_b_100ep",
        options=ModelOptions(min_size=1024, max_size=1024),
        augmentation=(HorizontalFlipConfig(), ScaleJitterConfig(scale=(0.1, 2.0), size=1024)),
        optimizer=replace(recipe.optimizer, lr=1e-4, lr_batch=16, weight_decay=0.1, layer_decay=0.7, warmup_steps=250),
        batch_size=4,
        output="runs/finetune_vit",
    )


def _small(model: str, output: str) -> Recipe:
    return Recipe(
        model=model,
        options=ModelOptions(
            pyramid_channels=64,
            head_width=256,
            anchor_sizes=(16, 32, 64, 128, 256),
            proposals=300,
            rois=128,
            min_size=320,
            max_size=544,
        ),
        optimizer=OptimizerConfig(
            name="adamw", lr=2e-4, lr_batch=4, weight_decay=0.05, clip_norm=1.0, warmup_steps=100, schedule="cosine"
        ),
        epochs=10,
        batch_size=4,
        ema=0.998,
        evaluate_every=2,
        output=output,
    )


def small() -> Recipe:
    """A cascade that trains on a CPU: ResNet-18, narrow pyramid, 320-pixel images.

    cascade-rcnn train small --data.train train.json --data.val val.json --weights-backbone imagenet
    """
    return _small("cascade_rcnn_resnet18_fpn", "runs/small")


def small_baseline() -> Recipe:
    """The Faster R-CNN baseline of `small`: same data, schedule and head, but one stage."""
    return _small("faster_rcnn_resnet18_fpn", "runs/small_baseline")


def _small_single(model: str, output: str, trainable_layers: int) -> Recipe:
    """`small` without a pyramid, with anchors of all sizes on the stride-16 map."""
    recipe = _small(model, output)
    options = replace(
        recipe.options, anchor_sizes=(16, 32, 64, 128, 256), rpn_channels=128, trainable_layers=trainable_layers
    )
    return replace(recipe, options=options)


def small_rfcn() -> Recipe:
    """R-FCN with cascade that trains on a CPU: dilated ResNet-18, narrow head, 320-pixel images.

    cascade-rcnn train small_rfcn --data.train train.json --data.val val.json --weights-backbone imagenet
    0.6 core seconds per image (`small`: 0.5).
    """
    return _small_single("cascade_rfcn_resnet18", "runs/small_rfcn", trainable_layers=3)


def small_rfcn_baseline() -> Recipe:
    """The R-FCN baseline of `small_rfcn`: same data, schedule and head, but one stage."""
    return _small_single("rfcn_resnet18", "runs/small_rfcn_baseline", trainable_layers=3)


def small_vgg() -> Recipe:
    """Faster R-CNN VGG-16 with cascade on a CPU: conv1 to conv3 frozen, narrow head, 320-pixel images.

    cascade-rcnn train small_vgg --data.train train.json --data.val val.json --weights-backbone imagenet
    1.7 core seconds per image.
    """
    return _small_single("cascade_rcnn_vgg16", "runs/small_vgg", trainable_layers=2)


def small_vgg_baseline() -> Recipe:
    """The Faster R-CNN baseline of `small_vgg`: same data, schedule and head, but one stage."""
    return _small_single("faster_rcnn_vgg16", "runs/small_vgg_baseline", trainable_layers=2)


def starter() -> Recipe:
    """The recipe of `make starter`: trains the narrow ResNet-18 cascade of the package on COCO's persons.

    cascade-rcnn train starter --data.train person_train.json --data.val person_val.json --weights-backbone FILE
    Half an hour on 2 cores with bf16 for 1,392 images; see docs/results/starter.md for its metrics.
    """
    return Recipe(
        model="cascade_rcnn_resnet18_fpn",
        options=ModelOptions(
            semantics="paper",
            pyramid_channels=64,
            head_width=192,
            anchor_sizes=(16, 32, 64, 128, 256),
            proposals=300,
            rois=128,
            min_size=(224, 272, 320),
            max_size=544,
        ),
        augmentation=(HorizontalFlipConfig(), ColorConfig()),
        optimizer=OptimizerConfig(
            name="adamw", lr=4e-4, lr_batch=4, weight_decay=0.05, clip_norm=1.0, warmup_steps=100, schedule="cosine"
        ),
        epochs=10,
        batch_size=4,
        ema=0.998,
        evaluate_every=2,
        workers=1,
        output="runs/starter",
    )


def quickstart() -> Recipe:
    """The recipe of `cascade-rcnn quickstart`: fine-tunes the starter on a dataset of blood cells in the package.

    cascade-rcnn train quickstart --data.train train.json --data.val val.json
    See docs/results/quickstart.md for its training time and metrics.
    """
    return Recipe(
        init="starter",
        options=ModelOptions(min_size=None),
        optimizer=OptimizerConfig(
            name="adamw", lr=8e-4, lr_batch=4, weight_decay=0.05, clip_norm=5.0, warmup_steps=20, schedule="cosine"
        ),
        epochs=5,
        batch_size=4,
        ema=0.98,
        evaluate_every=2,
        workers=1,
        output="runs/quickstart",
    )


def shapes() -> Recipe:
    """A narrow ResNet-18 cascade from random weights, to try out training on the generated dataset `shapes`.

    cascade-rcnn shapes shapes --size 160 && cascade-rcnn train shapes --data.train shapes/train.json ...
    """
    return Recipe(
        model="cascade_rcnn_resnet18_fpn",
        weights_backbone=None,
        options=ModelOptions(
            pyramid_channels=48,
            head_width=192,
            anchor_sizes=(16, 32, 64, 128, 256),
            proposals=100,
            rois=64,
            min_size=None,
        ),
        optimizer=OptimizerConfig(
            name="adamw", lr=1e-3, lr_batch=4, weight_decay=0.05, clip_norm=5.0, warmup_steps=100, schedule="cosine"
        ),
        epochs=12,
        batch_size=4,
        ema=0.99,
        evaluate_every=3,
        workers=1,
        output="runs/shapes",
    )


RECIPES: dict[str, Callable[[], Recipe]] = {
    recipe.__name__: recipe
    for recipe in (
        quickstart,
        starter,
        shapes,
        finetune,
        finetune_convnext,
        finetune_swin,
        finetune_vit,
        small,
        small_baseline,
        small_rfcn,
        small_rfcn_baseline,
        small_vgg,
        small_vgg_baseline,
        cascade_rcnn_r50,
        faster_rcnn_r50,
        paper_cascade_r50,
        paper_faster_r50,
        paper_cascade_r101,
        paper_faster_r101,
        paper_ablation,
        paper_cascade_vgg,
        paper_faster_vgg,
        paper_cascade_rfcn_r50,
        paper_rfcn_r50,
        paper_cascade_rfcn_r101,
        paper_rfcn_r101,
    )
}


def read_recipe(path: Path) -> Recipe:
    """Read the recipe.json of a training run. Raises UserError for any other content."""
    try:
        return msgspec.convert(read_json(path), Recipe)
    except msgspec.ValidationError as error:
        raise UserError(f"{path}: not a training run's recipe.json ({error}); give one, or a recipe's name") from None


def flattened(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested settings to command line names: {"optimizer": {"lr": 1}} -> {"optimizer.lr": 1}."""
    flat = {}
    for name, value in settings.items():
        flat |= flattened(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat
