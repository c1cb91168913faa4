"""Weighted sums of table rows as custom operators, which RoIAlign is computed with.

As a custom operator, the gradient can be another weighted sum, in half the time of a scatter, and exporters know the
shape of the result.

P rows of the table · C channels · N sums · n rows per sum · E rows of all sums together
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from cascade_rcnn.operators import define, differentiate


def weighted_sum(index: Tensor, table: Tensor, weight: Tensor) -> Tensor:
    """Sum n weighted rows for each output: index (N, n), table (P, C), weight (N, n) -> (N, C).

    out[i] = sum over k of weight[i, k] * table[index[i, k]]; only the table gets a gradient.
    """
    return OPERATOR(index, table, weight.detach().to(table.dtype))


def ragged_weighted_sum(index: Tensor, table: Tensor, weight: Tensor, offsets: Tensor) -> Tensor:
    """Compute `weighted_sum` with sum i over offsets[i]:offsets[i + 1] of index (E,) and weight (E,); offsets (N,)."""
    return RAGGED_OPERATOR(index, table, weight.detach().to(table.dtype), offsets)


def by_embedding_bag(index: Tensor, table: Tensor, weight: Tensor) -> Tensor:
    """Compute the sum with a torch operator, for graphs that cannot contain custom operators."""
    return F.embedding_bag(index, table, per_sample_weights=weight, mode="sum")


def _ragged(index: Tensor, table: Tensor, weight: Tensor, offsets: Tensor) -> Tensor:
    return F.embedding_bag(index, table, offsets, per_sample_weights=weight, mode="sum")


def _backward(index: Tensor, gradient: Tensor, weight: Tensor, reader: Tensor, rows: int) -> Tensor:
    """Compute the table's gradient (P, C): row p sums the gradients of the outputs that read it, by sorting the index.

    index (E,), weight (E,), reader (E,): the sum that each entry belongs to; gradient (N, C).
    """
    order = index.argsort()
    counts = torch.bincount(index, minlength=rows)
    offsets = counts.cumsum(0) - counts
    return F.embedding_bag(reader[order], gradient.contiguous(), offsets, per_sample_weights=weight[order], mode="sum")


_BACKWARD = define(
    "weighted_sum_backward",
    _backward,
    lambda index, gradient, weight, reader, rows: gradient.new_empty(rows, gradient.shape[1]),
)
OPERATOR = define(
    "weighted_sum", by_embedding_bag, lambda index, table, weight: table.new_empty(index.shape[0], table.shape[1])
)
RAGGED_OPERATOR = define(
    "ragged_weighted_sum",
    _ragged,
    lambda index, table, weight, offsets: table.new_empty(offsets.shape[0], table.shape[1]),
)


def _keep(ctx, inputs, output) -> None:
    index, table, weight = inputs
    ctx.save_for_backward(index, weight)
    ctx.rows = table.shape[0]


def _gradients(ctx, gradient: Tensor) -> tuple[None, Tensor, None]:
    index, weight = ctx.saved_tensors
    reader = torch.arange(index.numel(), device=index.device) // max(1, index.shape[1])
    return None, _BACKWARD(index.flatten(), gradient, weight.flatten(), reader, ctx.rows), None


def _keep_ragged(ctx, inputs, output) -> None:
    index, table, weight, offsets = inputs
    ctx.save_for_backward(index, weight, offsets)
    ctx.rows = table.shape[0]


def _ragged_gradients(ctx, gradient: Tensor) -> tuple[None, Tensor, None, None]:
    index, weight, offsets = ctx.saved_tensors
    lengths = torch.diff(offsets, append=offsets.new_tensor([index.shape[0]]))
    reader = torch.repeat_interleave(torch.arange(len(offsets), device=index.device), lengths)
    return None, _BACKWARD(index, gradient, weight, reader, ctx.rows), None, None


differentiate(OPERATOR, _gradients, _keep)
differentiate(RAGGED_OPERATOR, _ragged_gradients, _keep_ragged)
