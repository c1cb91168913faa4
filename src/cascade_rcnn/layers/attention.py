"""Attention over a grid of tokens with decomposed relative position biases, one per row and one per column.

N tokens of a grid (H, W), in row-major order · d channels per head
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def attend(q: Tensor, k: Tensor, v: Tensor, of_rows: Tensor, of_columns: Tensor, *, by_head: bool = False) -> Tensor:
    """Compute attention over (B, heads, N, d), biased by the key's row (B, heads, N, H) and column (B, heads, N, W).

    `by_head` processes one head at a time: on a grid of 64 x 64, the biases of all heads together take a gigabyte.
    """
    if torch.is_grad_enabled() and q.requires_grad:
        return _without_table(q, k, v, of_rows, of_columns)
    return _with_table((q, k, v, of_rows, of_columns), by_head)


def _with_table(inputs: tuple[Tensor, ...], by_head: bool) -> Tensor:
    """Pass the biases as an attention mask (N, N) per head: fastest if they need not be kept for the backward pass."""

    def some(*heads: Tensor) -> Tensor:
        q, k, v, of_rows, of_columns = heads
        mask = (of_rows[..., :, None] + of_columns[..., None, :]).flatten(-2)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)

    if not by_head:
        return some(*inputs)
    return torch.cat([some(*head) for head in zip(*(x.split(1, dim=1) for x in inputs), strict=True)], dim=1)


def _without_table(q: Tensor, k: Tensor, v: Tensor, of_rows: Tensor, of_columns: Tensor) -> Tensor:
    """Express the biases as extra channels: a query's are its biases, a key's are its row and column, one-hot.

    No (N, N) table is built or kept for the backward pass: 0.3 GB instead of 2 GB per block of ViT-B at 64 x 64 tokens.
    """
    channels, rows, columns = q.shape[-1], of_rows.shape[-1], of_columns.shape[-1]
    row, column = torch.eye(rows, dtype=k.dtype, device=k.device), torch.eye(columns, dtype=k.dtype, device=k.device)
    place = torch.cat([row.repeat_interleave(columns, dim=0), column.repeat(rows, 1)], dim=-1)
    queries = torch.cat([q * channels**-0.5, of_rows, of_columns], dim=-1)
    keys = torch.cat([k, place.expand(*k.shape[:2], -1, -1)], dim=-1)
    found = F.scaled_dot_product_attention(queries, keys, F.pad(v, (0, rows + columns)), scale=1.0)
    return found[..., :channels]
