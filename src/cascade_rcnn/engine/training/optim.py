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
from cascade_rcnn.text import count

_DECAYS = 0.1  # share of the weights lost in an update to weight decay, usually about 1e-5


def parameter_groups(model: Detector, config: OptimizerConfig) -> list[dict]:
    """Group the trainable parameters by learning-rate multiplier and weight decay.

    With SGD, the head of a stage has the multiplier of that stage, which compensates for its loss weight, and biases
    have that of the preset. AdamW ignores both, as its steps do not depend on the scale of the loss. `layer_decay`
    lowers the learning rate of the backbone's layers towards the input. Weight decay is not applied to biases and
    normalisation (parameters with one dimension), nor to the backbone's `no_decay`.
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
    """Return a parameter's multiplier; a head shared by several stages uses that of the first one."""
    head = re.match(r"roi_heads\.heads\.(\d+)\.", name)
    stage = model.roi_heads.stages[model.roi_heads.head_of.index(int(head[1]))] if head else StageConfig()
    bias = model.config.semantics.bias_lr_multiplier if name.endswith(".bias") else 1.0
    return stage.lr_multiplier * bias


def _layer_multipliers(backbone: Any, decay: float) -> dict[nn.Parameter, float]:
    """Return the backbone's multipliers, `decay` to the power of the number of layers above (the heads are one)."""
    if decay == 1:
        return {}
    layers = backbone.layers()
    return {p: decay ** (len(layers) - k) for k, layer in enumerate(layers) for p in layer.parameters()}


def clip_norm(config: OptimizerConfig) -> float:
    """Return the maximum gradient norm, which is infinite without clipping."""
    return math.inf if config.clip_norm is None else config.clip_norm


def make_optimizer(groups: list[dict], config: OptimizerConfig, *, fused: bool = True) -> torch.optim.Optimizer:
    """Make an optimizer, SGD with momentum or AdamW; call `set_learning_rate` before each of its steps.

    `fused` updates all parameters in one kernel; with fp16 it must be off, or gradients could not be clipped.
    """
    if config.name == "adamw":
        return torch.optim.AdamW(groups, lr=config.lr, fused=fused)
    return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, fused=fused)


def learning_rate(config: OptimizerConfig, step: int, total_steps: int, images_per_step: int) -> float:
    """Return the learning rate of update `step` (from 0), with linear scaling, warm-up, and step or cosine decay."""
    return config.lr * images_per_step / config.lr_batch * _fraction(config, step, total_steps)


def _fraction(config: OptimizerConfig, step: int, total_steps: int) -> float:
    """Return what warm-up and decay leave of the learning rate."""
    progress = step / max(1, total_steps)
    if config.schedule == "cosine":
        left = 0.5 * (1 + math.cos(math.pi * progress))
    else:
        left = 0.1 ** sum(progress >= drop for drop in config.drops)
    if step < config.warmup_steps:
        left *= config.warmup_factor + (1 - config.warmup_factor) * step / config.warmup_steps
    return left


def rate_notes(config: OptimizerConfig, total_steps: int, images_per_step: int) -> list[str]:
    """Return notes on a learning rate of 0, on weight decay that leaves nothing to learn, and on the warm-up."""
    if config.lr == 0:
        return ["--optimizer.lr is 0, so the model learns nothing"]
    lost = config.lr * images_per_step / config.lr_batch * config.weight_decay
    notes = warm_up_notes(config, total_steps)
    if lost < _DECAYS:
        return notes
    why = "the learning rate times --optimizer.weight-decay"
    return [*notes, f"each update removes {100 * lost:.0f} % of the weights ({why}); lower it, for example to 0.0001"]


def warm_up_notes(config: OptimizerConfig, total_steps: int) -> list[str]:
    """Return a note if the warm-up takes so much of the run that the learning rate does not reach half of `lr`."""
    reached = max(_fraction(config, step, total_steps) for step in range(0, total_steps, max(1, total_steps // 100)))
    if reached >= 0.5:
        return []
    why = f"as the warm-up takes {count(config.warmup_steps, 'update')} and the run has {total_steps}"
    advice = f"lower --optimizer.warmup-steps, for example to {total_steps // 10}, or train longer"
    return [f"the learning rate reaches at most {100 * reached:.2g} % of --optimizer.lr, {why}; {advice}"]


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of every parameter group to `rate` times its multiplier."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["multiplier"]


def moving_average(decay: float) -> Callable[..., None]:
    """Return the update function of an exponential moving average, for `AveragedModel`.

    The decay after n updates is min(decay, (1 + n) / (10 + n)), so that a short run averages over about its last tenth
    instead of keeping its random initial weights.
    """

    @torch.no_grad()
    def update(averaged: Sequence[Tensor], current: Sequence[Tensor], number: Tensor | int) -> None:
        keep = min(decay, (1 + int(number)) / (10 + int(number)))
        for mine, new in zip(averaged, current, strict=True):
            if mine.is_floating_point():
                mine.lerp_(new.to(mine.dtype), 1 - keep)
            else:  # batch norm's counters of batches
                mine.copy_(new)

    return update
