"""Attention over a grid of places, biased by how far apart rows and columns are ("decomposed" relative positions).

N places, row by row on a grid (H, W) · d channels a head
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def attend(q: Tensor, k: Tensor, v: Tensor, of_rows: Tensor, of_columns: Tensor, *, by_head: bool = False) -> Tensor:
    """Attention of (B, heads, N, d) with biases by the key's row (B, heads, N, H) and column (B, heads, N, W).

    `by_head`, for large grids: one head at a time, as the biases of all of them together take a gigabyte at 64 x 64.
    """
    if torch.is_grad_enabled() and q.requires_grad:
        return _without_table(q, k, v, of_rows, of_columns)
    return _with_table((q, k, v, of_rows, of_columns), by_head)


def _with_table(inputs: tuple[Tensor, ...], by_head: bool) -> Tensor:
    """The biases (N, N) of a head as a mask: what is fastest, where no gradients keep them."""

    def some(*heads: Tensor) -> Tensor:
        q, k, v, of_rows, of_columns = heads
        mask = (of_rows[..., :, None] + of_columns[..., None, :]).flatten(-2)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)

    if not by_head:
        return some(*inputs)
    return torch.cat([some(*head) for head in zip(*(x.split(1, dim=1) for x in inputs), strict=True)], dim=1)


def _without_table(q: Tensor, k: Tensor, v: Tensor, of_rows: Tensor, of_columns: Tensor) -> Tensor:
    """The biases as products of more channels: the query's are its biases, the key's say in which row and column it is.

    No table of (N, N) is made, nor kept for the gradients: at 64 x 64 places 0.3 GB instead of 2 a block of ViT-B.
    """
    channels, rows, columns = q.shape[-1], of_rows.shape[-1], of_columns.shape[-1]
    row, column = torch.eye(rows, dtype=k.dtype, device=k.device), torch.eye(columns, dtype=k.dtype, device=k.device)
    place = torch.cat([row.repeat_interleave(columns, dim=0), column.repeat(rows, 1)], dim=-1)
    queries = torch.cat([q * channels**-0.5, of_rows, of_columns], dim=-1)
    keys = torch.cat([k, place.expand(*k.shape[:2], -1, -1)], dim=-1)
    found = F.scaled_dot_product_attention(queries, keys, F.pad(v, (0, rows + columns)), scale=1.0)
    return found[..., :channels]
