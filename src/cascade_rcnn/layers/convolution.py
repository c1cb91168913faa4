"""Convolutions in channels-last memory, with NCHW's backward pass where that is the faster one.

Channels last is the fastest layout everywhere but in one place: on a CPU without AVX-512, oneDNN's backward pass of
kernels larger than 1x1 takes about twice as long in it as in NCHW. There, and only there, what a convolution's gradient
is made of is copied to NCHW first; a 1x1 convolution's is a matrix product, which channels last has for nothing.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

Pair = tuple[int, int]
_NARROW = 16  # channels


def conv2d(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> Tensor:
    """`torch.nn.functional.conv2d`: the same values and gradients, whatever the layout of the backward pass."""
    learns = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
    if learns and _prefers_nchw(x, weight, stride):
        return _NCHWBackward.apply(x, weight, bias, stride, padding, dilation, groups)  # type: ignore[return-value]
    return F.conv2d(x, weight, bias, stride, padding, dilation, groups)


class Conv2d(nn.Conv2d):
    """`torch.nn.Conv2d` by `conv2d`; padded with zeros."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: A002
        return conv2d(input, weight, bias, self.stride, self.padding, self.dilation, self.groups)  # type: ignore[arg-type]


def _prefers_nchw(x: Tensor, weight: Tensor, stride: Pair) -> bool:
    """Whether a float32 backward pass on this CPU is slow in channels last, or, for very narrow maps, crashes.

    Slow: kernels larger than 1x1 where torch uses no AVX-512 (ATEN_CPU_CAPABILITY counts). Crashing: with AVX-512,
    oneDNN 3.12 writes beyond its memory for strided 1x1 kernels on fewer than 16 channels.
    """
    if torch.compiler.is_compiling():  # which chooses layouts of its own
        return False
    if x.device.type != "cpu" or x.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
        return False
    if weight.shape[-1] == 1:
        return stride[0] > 1 and x.shape[1] < _NARROW
    return torch.backends.cpu.get_cpu_capability() in ("DEFAULT", "AVX2")


def _to_nchw(x: Tensor) -> Tensor:
    """A copy, image by image as the transpose of a matrix: torch does that in blocks, in half the time."""
    if not x.is_contiguous(memory_format=torch.channels_last):
        return x.contiguous()
    copy = torch.empty(x.shape, dtype=x.dtype)
    for target, image in zip(copy, x, strict=True):
        target.flatten(1).copy_(image.permute(1, 2, 0).flatten(0, 1).t())
    return copy


class _NCHWBackward(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: Pair,
        padding: Pair,
        dilation: Pair,
        groups: int,
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.geometry = (None if bias is None else list(bias.shape), stride, padding, dilation, False, (0, 0), groups)
        return F.conv2d(x, weight, bias, stride, padding, dilation, groups)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, ...]:
        (gradient,), (x, weight) = gradients, ctx.saved_tensors
        operands = _to_nchw(gradient), _to_nchw(x), weight.clone(memory_format=torch.contiguous_format)
        found = torch.ops.aten.convolution_backward(*operands, *ctx.geometry, ctx.needs_input_grad[:3])
        of_x, of_weight, of_bias = (
            g.contiguous(memory_format=torch.channels_last) if g is not None and g.ndim == 4 else g for g in found
        )
        return of_x, of_weight, of_bias, None, None, None, None
