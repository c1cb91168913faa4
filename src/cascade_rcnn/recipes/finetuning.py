"""Recipes that fine-tune published detectors on your own data."""

from dataclasses import replace

from cascade_rcnn.config import ModelOptions
from cascade_rcnn.config.augmentation import ColorConfig, HorizontalFlipConfig, ScaleJitterConfig
from cascade_rcnn.recipes.config import OptimizerConfig, Recipe

_PUBLISHED_SIZES = tuple(range(480, 801, 32))  # short sides in the training of DETR, Swin and others


def finetune() -> Recipe:
    """Your own data on one GPU, starting from the strongest published ResNet-50 cascade (COCO AP 44.8).

    cascade-rcnn train finetune --data FOLDER
    A few hundred images are enough to start with. Increase --epochs for fewer, decrease it for tens of thousands, or
    let `train auto` choose. The weights (310 MB) are downloaded on first use; without a network, use --init starter, or
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
    Learning rate, weight decay, layer decay and image sizes follow the published training run (16 images per step, 36
    epochs of COCO), without its random crops; warm-up, epochs, schedule and EMA follow `finetune`. Not yet run.
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
    COCO), without its random crops; warm-up, epochs, schedule and EMA follow `finetune`. Not yet run.
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
    step, 100 epochs of COCO). The learning rate is for 16 images per step: scaled from 64 to a few images, it would be
    too low for new classes. Epochs, schedule and EMA follow `finetune`. Not yet run.
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
