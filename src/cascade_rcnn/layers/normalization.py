"""Normalisation layers, built from their config, and convolutions with fixed ones folded into their weights.

C channels
"""

from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from cascade_rcnn.config import NormConfig
from cascade_rcnn.errors import UserError

M = TypeVar("M", bound=nn.Module)


def make_norm(config: NormConfig, channels: int, *, of_rois: bool = False) -> nn.Module:
    """Build the layer for a config; set `of_rois` if it normalises RoI features, some of whose slots are empty."""
    match config.kind:
        case "batch":
            return (RoIBatchNorm2d if of_rois else BatchNorm2d)(channels, eps=config.eps)
        case "group":
            if channels % config.groups:
                raise UserError(
                    f"{channels} channels cannot be divided into the {config.groups} groups of group normalisation; "
                    f"give widths that are multiples of {config.groups}"
                )
            return GroupNorm(config.groups, channels, eps=config.eps)
        case "layer":
            return LayerNorm2d(channels, eps=config.eps)
        case "frozen" | "affine":
            return FixedBatchNorm(channels, trained=config.kind == "affine", folded=config.folded, eps=config.eps)


class FixedBatchNorm(nn.Module):
    """Batch normalisation with the statistics of pretraining; scale and shift are either trained or fixed as well."""

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, *, trained: bool, folded: bool, eps: float) -> None:
        super().__init__()
        self.folded, self.eps = folded, eps
        for name, value in (("weight", torch.ones(channels)), ("bias", torch.zeros(channels))):
            if trained:
                self.register_parameter(name, nn.Parameter(value))
            else:
                self.register_buffer(name, value)
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, C, H, W), rounding like detectron2, which has two ways to apply a fixed scale and shift."""
        if x.requires_grad and not self.weight.requires_grad:
            scale, shift = (value[:, None, None] for value in self.affine())
            return x * scale + shift
        return _with_statistics(x, self)

    def affine(self) -> tuple[Tensor, Tensor]:
        """Return the equivalent scale (C,) and shift (C,)."""
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        return scale, self.bias - self.running_mean * scale


def _with_statistics(x: Tensor, norm: "FixedBatchNorm | BatchNorm2d") -> Tensor:
    """Normalise by the running statistics. `F.batch_norm` of torch 2.11 refuses torchvision's eps of 0."""
    mean, var, cudnn = norm.running_mean, norm.running_var, torch.backends.cudnn.enabled
    return torch.batch_norm(x, norm.weight, norm.bias, mean, var, False, 0.0, norm.eps, cudnn)


class LayerNorm2d(nn.LayerNorm):
    """Layer normalisation over the channels at each position, which are contiguous in channels-last memory."""

    def forward(self, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Normalise (B, C, H, W)."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class GroupNorm(nn.GroupNorm):
    """Group normalisation whose statistics are also accurate in channels-last memory.

    There, torch's kernel computes the variance as the mean square minus the squared mean and loses a digit per layer.
    """

    def forward(self, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Normalise (B, C, H, W)."""
        if x.device.type != "cpu" or torch.compiler.is_compiling():
            return super().forward(x)
        batch, channels, height, width = x.shape
        values = x.float()
        rows = values.permute(0, 2, 3, 1).reshape(batch, height * width, self.num_groups, -1)
        var, mean = torch.var_mean(rows, dim=(1, 3), correction=0)  # (B, groups)
        scale = self.weight.view(self.num_groups, -1) * (var + self.eps).rsqrt()[..., None]
        shift = self.bias.view(self.num_groups, -1) - mean[..., None] * scale
        normalised = torch.addcmul(shift.view(batch, channels, 1, 1), values, scale.view(batch, channels, 1, 1))
        return normalised.to(x.dtype)


class BatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation, synchronised across processes in training.

    If frozen (its weights require no gradients), it uses its running statistics in training, too.
    """

    local = False  # whether the statistics are those of this process alone

    def forward(self, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Normalise (B, C, H, W)."""
        if not self._learns():
            return _with_statistics(x, self)
        return super().forward(x) if self._processes() == 1 else self._by_batch(x, None)

    def _learns(self) -> bool:
        return self.training and self.weight.requires_grad

    def _by_batch(self, x: Tensor, weight: Tensor | None) -> Tensor:
        """Normalise by batch statistics and update the running ones; `weight` (B, 1, 1, 1) is 0 for empty slots."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        values = x.to(self.running_mean.dtype)
        counted = values if weight is None else values * weight
        images = values.new_tensor(len(x)) if weight is None else weight.sum()
        sums = torch.cat([images[None] * x.shape[2] * x.shape[3], counted.sum(dim=(0, 2, 3))])
        sums = self._sum(sums)
        number = sums[0].clamp(min=1)
        mean = sums[1:] / number
        squares = (values - mean[:, None, None]).square()
        var = self._sum((squares if weight is None else squares * weight).sum(dim=(0, 2, 3))) / number
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            momentum = (0.1 if self.momentum is None else self.momentum) * sums[0].clamp(max=1)  # 0 if all are empty
            self.running_mean.lerp_(mean, momentum)
            self.running_var.lerp_(var * number / (number - 1).clamp(min=1), momentum)
        scale = self.weight * (var + self.eps).rsqrt()
        return (values * scale[:, None, None] + (self.bias - mean * scale)[:, None, None]).to(x.dtype)

    def _processes(self) -> int:
        together = dist.is_available() and dist.is_initialized() and not self.local
        return dist.get_world_size() if together else 1

    def _sum(self, values: Tensor) -> Tensor:
        """Sum over all processes, with gradients."""
        return values if self._processes() == 1 else _SumOverProcesses.apply(values)


def keep_local(model: M) -> M:
    """Let batch normalisation, in place, wait for no other process: for a model that only this one trains."""
    for module in model.modules():
        if isinstance(module, BatchNorm2d):
            module.local = True
    return model


class RoIBatchNorm2d(BatchNorm2d):
    """Batch normalisation over RoI features: empty slots are normalised, but do not count towards the statistics."""

    def forward(self, x: Tensor, present: Tensor | None = None) -> Tensor:  # pyright: ignore
        """Normalise (R, C, S, S); `present` (R,) bool marks the slots that are not empty."""
        if not self._learns() or present is None:
            return super().forward(x)
        return self._by_batch(x, present.to(self.weight.dtype)[:, None, None, None])


class _SumOverProcesses(torch.autograd.Function):
    """The sum; its gradient is the sum of all processes' gradients."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:  # pyright: ignore
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # pyright: ignore
        total = gradient.clone()
        dist.all_reduce(total)
        return total


def conv_norm(conv: nn.Module, norm: nn.Module, x: Tensor) -> Tensor:
    """Apply a convolution and its normalisation; folding a fixed norm into the weights saves a pass over the map."""
    if isinstance(norm, FixedBatchNorm) and norm.folded and isinstance(conv, nn.Conv2d):
        scale, shift = norm.affine()
        weight = conv.weight * scale[:, None, None, None]
        return conv._conv_forward(x, weight, shift)
    return norm(conv(x))
