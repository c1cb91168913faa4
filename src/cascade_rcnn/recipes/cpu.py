"""Small detectors that train on a CPU."""

from dataclasses import replace

from cascade_rcnn.config import ModelOptions
from cascade_rcnn.recipes.config import OptimizerConfig, Recipe


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
    """A cascade that trains on a CPU: ResNet-18, narrow FPN and head, 320-pixel images.

    cascade-rcnn train small --data.train train.json --data.val val.json --weights-backbone imagenet
    """
    return _small("cascade_rcnn_resnet18_fpn", "runs/small")


def small_baseline() -> Recipe:
    """The Faster R-CNN baseline of `small`: same data, schedule and head, but one stage."""
    return _small("faster_rcnn_resnet18_fpn", "runs/small_baseline")


def _small_single(model: str, output: str, trainable_layers: int) -> Recipe:
    """`small` without an FPN, with anchors of all sizes on the stride-16 map."""
    recipe = _small(model, output)
    return replace(recipe, options=replace(recipe.options, rpn_channels=128, trainable_layers=trainable_layers))


def small_rfcn() -> Recipe:
    """R-FCN with a cascade that trains on a CPU: dilated ResNet-18, narrow head, 320-pixel images.

    cascade-rcnn train small_rfcn --data.train train.json --data.val val.json --weights-backbone imagenet
    Training takes 0.6 core seconds per image (`small`: 0.5).
    """
    return _small_single("cascade_rfcn_resnet18", "runs/small_rfcn", trainable_layers=3)


def small_rfcn_baseline() -> Recipe:
    """The R-FCN baseline of `small_rfcn`: same data, schedule and head, but one stage."""
    return _small_single("rfcn_resnet18", "runs/small_rfcn_baseline", trainable_layers=3)


def small_vgg() -> Recipe:
    """VGG-16 with a cascade that trains on a CPU: conv1 to conv3 frozen, narrow head, 320-pixel images.

    cascade-rcnn train small_vgg --data.train train.json --data.val val.json --weights-backbone imagenet
    Training takes 1.7 core seconds per image.
    """
    return _small_single("cascade_rcnn_vgg16", "runs/small_vgg", trainable_layers=2)


def small_vgg_baseline() -> Recipe:
    """The Faster R-CNN baseline of `small_vgg`: same data, schedule and head, but one stage."""
    return _small_single("faster_rcnn_vgg16", "runs/small_vgg_baseline", trainable_layers=2)
