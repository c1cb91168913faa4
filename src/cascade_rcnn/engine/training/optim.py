"""Optimizers and learning-rate schedules."""

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cascade_rcnn.config import StageConfig
from cascade_rcnn.models.detector import Detector
from cascade_rcnn.recipes import OptimizerConfig


def parameter_groups(model: Detector, config: OptimizerConfig) -> list[dict]:
    """Group parameters by learning-rate multiplier (per stage's head, per layer, for biases) and weight decay.

    A multiplier makes up for a small loss weight: with SGD the head learns as fast as without either. AdamW's steps do
    not depend on a loss's scale, there is nothing to make up for, and multipliers are left out.
    `layer_decay` makes the backbone's layers learn the slower the nearer they are to the pixels.
    Biases and normalisation (anything with one dimension), and what the backbone names, do not decay.
    """
    layers = _layer_multipliers(model.backbone, config.layer_decay)
    spared = {f"backbone.{name}" for name in getattr(model.backbone, "no_decay", ())}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            multiplier = layers.get(parameter, 1.0) * (_multiplier(model, name) if config.name == "sgd" else 1.0)
            decay = config.weight_decay if parameter.ndim > 1 and name not in spared else 0.0
            groups.setdefault((multiplier, decay), []).append(parameter)
    return [
        {"params": parameters, "multiplier": multiplier, "weight_decay": decay}
        for (multiplier, decay), parameters in groups.items()
    ]


def _multiplier(model: Detector, name: str) -> float:
    """Return a parameter's multiplier; a head shared by stages has that of the first of them."""
    head = re.match(r"roi_heads\.heads\.(\d+)\.", name)
    stage = model.roi_heads.stages[model.roi_heads.head_of.index(int(head[1]))] if head else StageConfig()
    bias = model.config.semantics.bias_lr_multiplier if name.endswith(".bias") else 1.0
    return stage.lr_multiplier * bias


def _layer_multipliers(backbone: Any, decay: float) -> dict[nn.Parameter, float]:
    """Return the backbone's multipliers: `decay` to the number of layers above, the heads being the last."""
    if decay == 1:
        return {}
    layers = backbone.layers()
    return {p: decay ** (len(layers) - k) for k, layer in enumerate(layers) for p in layer.parameters()}


def make_optimizer(groups: list[dict], config: OptimizerConfig, *, fused: bool = True) -> torch.optim.Optimizer:
    """Make SGD with momentum, or AdamW; `set_learning_rate` must be called before each step.

    `fused`: one kernel for all parameters. With fp16's loss scaling it must be off, or gradients cannot be clipped.
    """
    if config.name == "adamw":
        return torch.optim.AdamW(groups, lr=config.lr, fused=fused)
    return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, fused=fused)


def learning_rate(config: OptimizerConfig, step: int, total_steps: int, images_per_step: int) -> float:
    """Return the rate of update `step` (from 0): linear in the batch, warmed up, then in steps or a half cosine."""
    rate = config.lr * images_per_step / config.lr_batch
    progress = step / max(1, total_steps)
    if config.schedule == "cosine":
        rate *= 0.5 * (1 + math.cos(math.pi * progress))
    else:
        rate *= 0.1 ** sum(progress >= drop for drop in config.drops)
    if step < config.warmup_steps:
        rate *= config.warmup_factor + (1 - config.warmup_factor) * step / config.warmup_steps
    return rate


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group its rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["multiplier"]


def moving_average(decay: float) -> Callable[..., None]:
    """Return the update of `AveragedModel`: after n updates the average keeps min(decay, (1 + n) / (10 + n)) of itself.

    So a short training averages over its last tenth rather than remember its random start.
    """

    @torch.no_grad()
    def update(averaged: Sequence[Tensor], current: Sequence[Tensor], number: Tensor | int) -> None:
        keep = min(decay, (1 + int(number)) / (10 + int(number)))
        for mine, new in zip(averaged, current, strict=True):
            if mine.is_floating_point():
                mine.lerp_(new.to(mine.dtype), 1 - keep)
            else:  # counters of batches
                mine.copy_(new)

    return update
