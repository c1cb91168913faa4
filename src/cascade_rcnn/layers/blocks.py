"""Helpers for deep networks of repeated blocks: stochastic depth, activation checkpointing, windows, NHWC layout."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

RESIDUAL_GAIN = 0.25  # initial scale of residual branches, so that deep networks without statistics stay finite


class DropPath(nn.Module):
    """Stochastic depth (Huang et al. 2016): in training, drop a residual branch for some images of the batch."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Zero each image of (B, ...) with probability `rate`, and scale up the others to match."""
        if not self.training or self.rate == 0:
            return x
        kept = torch.rand((len(x),) + (1,) * (x.ndim - 1), device=x.device) >= self.rate
        return x * (kept / (1 - self.rate)).to(x.dtype)


def drop_rates(last: float, depths: Sequence[int]) -> list[list[float]]:
    """Return a rate for each block of each stage, rising in equal steps from 0 to `last`.

    >>> drop_rates(0.3, (1, 3))
    [[0.0], [0.1, 0.2, 0.3]]
    """
    steps, number = max(1, sum(depths) - 1), iter(range(sum(depths)))
    return [[last * next(number) / steps for _ in range(depth)] for depth in depths]


def run(block: Callable[..., Tensor], *inputs: Tensor | None, again: bool) -> Tensor:
    """Run a block; with `again`, recompute its activations in the backward pass instead of keeping them."""
    if not (again and torch.is_grad_enabled()):
        return block(*inputs)
    norms = [m for m in block.modules() if isinstance(m, nn.BatchNorm2d)] if isinstance(block, nn.Module) else []
    once = {"context_fn": lambda: (nullcontext(), _without_learning(norms))} if norms else {}
    return checkpoint(block, *inputs, use_reentrant=False, **once)  # type: ignore[no-any-return]


@contextmanager
def _without_learning(norms: Sequence[nn.BatchNorm2d]) -> Iterator[None]:
    """Freeze the running statistics during recomputation: the forward pass has already updated them for this batch."""
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm, (_, number) in zip(norms, before, strict=True):
        norm.momentum, norm.num_batches_tracked = 0.0, None if number is None else number.clone()
    try:
        yield
    finally:
        for norm, (momentum, number) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, number


def count_windows(length: int, side: int) -> int:
    """Count the windows that cover a length. Not -(-a // b): ONNX rounds negative quotients towards zero."""
    return (length + side - 1) // side


class ToNHWC(nn.Module):
    """Permute (B, C, H, W) to (B, H, W, C): a view, contiguous if the input is in channels_last memory."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, H, W, C)."""
        return x.permute(0, 2, 3, 1)
