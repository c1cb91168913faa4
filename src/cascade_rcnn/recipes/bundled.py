"""Recipes for the detector and the datasets that come with the package."""

from cascade_rcnn.config import ModelOptions
from cascade_rcnn.config.augmentation import ColorConfig, HorizontalFlipConfig
from cascade_rcnn.recipes.config import OptimizerConfig, Recipe


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
