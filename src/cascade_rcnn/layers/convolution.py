"""Convolutions in channels-last memory, with an NCHW backward pass where that is faster.

Channels last is the fastest layout, with one exception: on CPUs without AVX-512, oneDNN's backward pass for kernels
larger than 1x1 takes about twice as long as in NCHW. In that case, the inputs of the backward pass are copied to NCHW
first. The backward pass of a 1x1 convolution is a matrix product, which needs no copy in channels last.
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
    """Drop-in for `torch.nn.functional.conv2d`: same values and gradients, whatever the layout of the backward pass."""
    learns = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
    if learns and _crashes(x, weight, stride, padding):
        x, stride = x[..., :: stride[0], :: stride[1]], (1, 1)
    if learns and _prefers_nchw(x, weight):
        return _NCHWBackward.apply(x, weight, bias, stride, padding, dilation, groups)  # type: ignore[return-value]
    return F.conv2d(x, weight, bias, stride, padding, dilation, groups)


class Conv2d(nn.Conv2d):
    """`torch.nn.Conv2d` based on `conv2d`; zero padding only."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: A002
        return conv2d(input, weight, bias, self.stride, self.padding, self.dilation, self.groups)  # type: ignore[arg-type]


def shield(module: nn.Module) -> None:
    """Make those of torch's convolutions in a module whose backward pass may crash compute as `Conv2d`, in place.

    Other libraries have them, such as timm in RepVGG and MobileOne.
    """
    for layer in module.modules():
        if type(layer) is not nn.Conv2d or layer.padding != (0, 0):
            continue
        if layer.kernel_size == (1, 1) and layer.in_channels < _NARROW:
            layer.__class__ = Conv2d  # with the same parameters


class DoublingConv2d(nn.ConvTranspose2d):
    """A transposed convolution with a kernel and stride of 2: every cell becomes four.

    Where it learns on a CPU, it is computed as the matrix product that it is: torch's own backward pass takes twice the
    time.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        """Like `torch.nn.ConvTranspose2d` with a bias, and with the same parameters."""
        super().__init__(in_channels, out_channels, 2, stride=2)

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:  # noqa: A002
        """Map (N, C, H, W) to (N, out_channels, 2 H, 2 W)."""
        if not torch.is_grad_enabled() or input.device.type != "cpu" or torch.compiler.is_compiling():
            return super().forward(input, output_size)
        assert self.bias is not None
        cells = input.permute(0, 2, 3, 1)
        weight = self.weight.permute(2, 3, 1, 0).flatten(0, 2)
        four = F.linear(cells, weight, self.bias.repeat(4)).unflatten(-1, (2, 2, self.out_channels))
        height, width = (2 * side for side in input.shape[2:])
        return four.transpose(2, 3).reshape(len(input), height, width, -1).permute(0, 3, 1, 2)


def _crashes(x: Tensor, weight: Tensor, stride: Pair, padding: Pair) -> bool:
    """Return whether this is a strided 1x1 convolution of very few channels on a CPU.

    With AVX-512, the backward pass of oneDNN 3.12 writes out of bounds there, in float32 and bfloat16.
    """
    pointwise = weight.shape[-2:] == (1, 1) and padding == (0, 0)
    return pointwise and stride[0] > 1 and x.shape[1] < _NARROW and x.device.type == "cpu"


def _prefers_nchw(x: Tensor, weight: Tensor) -> bool:
    """Return whether a float32 backward pass in channels last is slow on this CPU.

    It is slow for kernels larger than 1x1 if torch does not use AVX-512 (ATEN_CPU_CAPABILITY is respected).
    """
    if torch.compiler.is_compiling():  # the compiler chooses its own layouts
        return False
    if x.device.type != "cpu" or x.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
        return False
    return weight.shape[-1] > 1 and torch.backends.cpu.get_cpu_capability() in ("DEFAULT", "AVX2")


def _to_nchw(x: Tensor) -> Tensor:
    """Copy to NCHW as one matrix transpose per image, which torch does blockwise in half the time."""
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
