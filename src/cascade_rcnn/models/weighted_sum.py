"""Sums of weighted rows of a table, as one operator: all of RoIAlign's arithmetic.

An operator of its own so that its gradient is again such a sum (half the time of a scatter), and so that an export
sees its shape: `index` (N, n) rows of `table` (P, C), `weight` (N, n) -> (N, C).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from cascade_rcnn.operators import define, differentiate


def weighted_sum(index: Tensor, table: Tensor, weight: Tensor) -> Tensor:
    """out[i] = sum over k of weight[i, k] * table[index[i, k]]; the table learns, the weights do not."""
    return OPERATOR(index, table, weight.detach().to(table.dtype))


def by_embedding_bag(index: Tensor, table: Tensor, weight: Tensor) -> Tensor:
    """The sum by torch's own operator: what a graph without ours can hold."""
    return F.embedding_bag(index, table, per_sample_weights=weight, mode="sum")


def _backward(index: Tensor, gradient: Tensor, weight: Tensor, rows: int) -> Tensor:
    """The table's gradient (P, C): row p sums the outputs that read it, found by sorting the index."""
    order = index.flatten().argsort()
    counts = torch.bincount(index.flatten(), minlength=rows)
    offsets = counts.cumsum(0) - counts
    reader = order // index.shape[1]
    return F.embedding_bag(
        reader, gradient.contiguous(), offsets, per_sample_weights=weight.flatten()[order], mode="sum"
    )


def _keep(ctx, inputs, output) -> None:
    index, table, weight = inputs
    ctx.save_for_backward(index, weight)
    ctx.rows = table.shape[0]


def _gradients(ctx, gradient: Tensor) -> tuple[None, Tensor, None]:
    index, weight = ctx.saved_tensors
    return None, _BACKWARD(index, gradient, weight, ctx.rows), None


_BACKWARD = define(
    "weighted_sum_backward",
    _backward,
    lambda index, gradient, weight, rows: gradient.new_empty(rows, gradient.shape[1]),
)
OPERATOR = define(
    "weighted_sum", by_embedding_bag, lambda index, table, weight: table.new_empty(index.shape[0], table.shape[1])
)
differentiate(OPERATOR, _gradients, _keep)
