"""Sums of weighted rows of a table, as one operator: all of RoIAlign's arithmetic.

An operator of its own so that its gradient is again such a sum (half the time of a scatter), and so that an export
sees its shape: `index` (N, n) rows of `table` (P, C), `weight` (N, n) -> (N, C).
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def weighted_sum(index: Tensor, table: Tensor, weight: Tensor) -> Tensor:
    """out[i] = sum over k of weight[i, k] * table[index[i, k]]; the table learns, the weights do not."""
    return torch.ops.cascade_rcnn.weighted_sum(index, table, weight.detach().to(table.dtype))


def by_embedding_bag(index: Tensor, table: Tensor, weight: Tensor) -> Tensor:
    """The sum by torch's own operator: what a graph without ours can hold."""
    return F.embedding_bag(index, table, per_sample_weights=weight, mode="sum")


@torch.library.custom_op("cascade_rcnn::weighted_sum", mutates_args=())
def _weighted_sum(index: Tensor, table: Tensor, weight: Tensor) -> Tensor:
    return by_embedding_bag(index, table, weight)


@_weighted_sum.register_fake
def _(index: Tensor, table: Tensor, weight: Tensor) -> Tensor:
    return table.new_empty(index.shape[0], table.shape[1])


@torch.library.custom_op("cascade_rcnn::weighted_sum_backward", mutates_args=())
def _backward(index: Tensor, gradient: Tensor, weight: Tensor, rows: int) -> Tensor:
    """The table's gradient (P, C): row p sums the outputs that read it, found by sorting the index."""
    order = index.flatten().argsort()
    counts = torch.bincount(index.flatten(), minlength=rows)
    offsets = counts.cumsum(0) - counts
    reader = order // index.shape[1]
    return F.embedding_bag(
        reader, gradient.contiguous(), offsets, per_sample_weights=weight.flatten()[order], mode="sum"
    )


@_backward.register_fake
def _(index: Tensor, gradient: Tensor, weight: Tensor, rows: int) -> Tensor:
    return gradient.new_empty(rows, gradient.shape[1])


def _keep(ctx, inputs, output) -> None:
    index, table, weight = inputs
    ctx.save_for_backward(index, weight)
    ctx.rows = table.shape[0]


def _gradients(ctx, gradient: Tensor) -> tuple[None, Tensor, None]:
    index, weight = ctx.saved_tensors
    return None, torch.ops.cascade_rcnn.weighted_sum_backward(index, gradient, weight, ctx.rows), None


_weighted_sum.register_autograd(_gradients, setup_context=_keep)
OPERATOR = torch.ops.cascade_rcnn.weighted_sum.default  # its node in an exported graph
