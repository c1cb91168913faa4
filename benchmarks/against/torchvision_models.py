"""torchvision's Faster R-CNN, versions 1 and 2, trained as in torchvision's reference recipe or as in ours."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import cast

import torch
from safetensors.torch import load_file
from torch import nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN, resnet_fpn_backbone
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead, FastRCNNPredictor, RPNHead, TwoMLPHead
from torchvision.ops import FeaturePyramidNetwork, FrozenBatchNorm2d
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from benchmarks.against.setting import ANCHORS, BATCH, Contender, Detect, Setting, Tick, batches
from cascade_rcnn.engine.predictor import Precision, autocast
from cascade_rcnn.engine.training.optim import clip_norm, learning_rate, make_optimizer, moving_average
from cascade_rcnn.recipes import Recipe

Build = Callable[[Path, int, tuple[int, int]], FasterRCNN]  # from weights, number of classes, and the sides of images
Factor = Callable[[int], float]  # from the number of an update to the factor of the learning rate
_CPU = torch.device("cpu")
_CHANNELS = [64, 128, 256, 512]
_RATIOS = (0.5, 1.0, 2.0)
# The reference recipe: 26 epochs, learning rate divided by 10 after epochs 16 and 22, warm-up of at most an epoch.
_DROPS, _RATE, _RATE_BATCH, _WARMUP = (16 / 26, 22 / 26), 0.02, 16, (1000, 1 / 26)


def version_1(weights: Path, classes: int, sides: tuple[int, int]) -> FasterRCNN:
    """Build `fasterrcnn_resnet50_fpn` on a ResNet-18, with a pyramid of 256 channels and a head of 1,024 units."""
    backbone = _backbone(weights, FrozenBatchNorm2d)
    return FasterRCNN(backbone, classes + 1, *sides, rpn_anchor_generator=_anchors())


def version_2(weights: Path, classes: int, sides: tuple[int, int]) -> FasterRCNN:
    """Build `fasterrcnn_resnet50_fpn_v2` on a ResNet-18: two RPN and four head convolutions, batch norm throughout."""
    backbone = _backbone(weights, nn.BatchNorm2d)
    backbone.fpn = FeaturePyramidNetwork(_CHANNELS, 256, LastLevelMaxPool(), norm_layer=nn.BatchNorm2d)
    head = FastRCNNConvFCHead((256, 7, 7), [256] * 4, [1024], norm_layer=nn.BatchNorm2d)
    rpn = RPNHead(256, len(_RATIOS), conv_depth=2)
    return FasterRCNN(backbone, classes + 1, *sides, rpn_anchor_generator=_anchors(), rpn_head=rpn, box_head=head)


def narrow(weights: Path, classes: int, sides: tuple[int, int]) -> FasterRCNN:
    """Build version 1 with the widths and numbers of boxes of our recipe `small`: more updates in the same time."""
    backbone = _backbone(weights, FrozenBatchNorm2d)
    backbone.fpn, backbone.out_channels = FeaturePyramidNetwork(_CHANNELS, 64, LastLevelMaxPool()), 64
    return FasterRCNN(
        backbone, None, *sides, rpn_anchor_generator=_anchors(), box_head=TwoMLPHead(64 * 49, 256),
        box_predictor=FastRCNNPredictor(256, classes + 1), box_batch_size_per_image=128,
        rpn_post_nms_top_n_train=300, rpn_post_nms_top_n_test=300,
    )  # fmt: skip


def _anchors() -> AnchorGenerator:
    return AnchorGenerator(tuple((size,) for size in ANCHORS), (_RATIOS,) * len(ANCHORS))


def _backbone(weights: Path, norm: Callable[..., nn.Module]) -> BackboneWithFPN:
    backbone = resnet_fpn_backbone(backbone_name="resnet18", weights=None, norm_layer=norm, trainable_layers=3)
    own = backbone.body.state_dict()
    given = {name: value.float() for name, value in load_file(weights).items() if name in own}
    backbone.body.load_state_dict(own | given)
    return backbone


def rate_factor(step: int, steps: int) -> float:
    """Return the factor of the learning rate at an update, from the recipe's warm-up and its two drops."""
    warmup = max(1, min(_WARMUP[0], round(_WARMUP[1] * steps)))
    rising = min(1.0, 0.001 + 0.999 * step / warmup)
    return rising * 0.1 ** sum(step >= drop * steps for drop in _DROPS)


def from_model(build: Build, recipe: Recipe | None = None) -> Contender:
    """Train with the reference recipe's optimizer, or with the optimizer and averaged weights of a recipe of ours."""

    def contend(setting: Setting, tick: Tick) -> Detect:
        torch.manual_seed(setting.seed)
        model = build(setting.weights, len(setting.images.categories), setting.sides).train()
        given = list(batches(setting))
        optimizer, factor = _like_recipe(model, recipe, len(given)) if recipe else _reference(model, len(given))
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        averaged = AveragedModel(model, multi_avg_fn=moving_average(recipe.ema)) if recipe and recipe.ema else None
        limit = clip_norm(recipe.optimizer) if recipe else math.inf
        for batch in given:
            samples = batch.samples()
            with autocast(_CPU, setting.precision):
                losses = model([image.float() / 255 for image, _ in samples], [target for _, target in samples])
            optimizer.zero_grad()
            torch.stack(list(losses.values())).sum().backward()
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), limit)
            if norm.isfinite():  # its box loss is sometimes NaN in bf16; such an update would ruin all weights
                optimizer.step()
            schedule.step()
            if averaged is not None:
                averaged.update_parameters(model)
            tick()
        trained = model if averaged is None else averaged.module
        return _detect(cast(FasterRCNN, trained).eval(), setting.precision)

    return contend


def _reference(model: FasterRCNN, steps: int) -> tuple[Optimizer, Factor]:
    """Return SGD with the reference recipe's learning rate, scaled to the batch, momentum and decay."""
    rate = _RATE * BATCH / _RATE_BATCH
    optimizer = torch.optim.SGD(_trained(model), lr=rate, momentum=0.9, weight_decay=1e-4)
    return optimizer, lambda step: rate_factor(step, steps)


def _like_recipe(model: FasterRCNN, recipe: Recipe, steps: int) -> tuple[Optimizer, Factor]:
    """Return the optimizer of a recipe; as there, biases do not decay."""
    config, parameters = recipe.optimizer, _trained(model)
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim == 1], "weight_decay": 0.0},
    ]
    return make_optimizer(groups, config), lambda step: learning_rate(config, step, steps, BATCH) / config.lr


def _trained(model: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def _detect(model: FasterRCNN, precision: Precision) -> Detect:
    @torch.inference_mode()
    def detect(image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        with autocast(_CPU, precision):
            (found,) = model([image.float() / 255])
        return found["boxes"].float(), found["scores"].float(), found["labels"]

    return detect
