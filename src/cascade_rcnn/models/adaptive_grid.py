"""Adaptive RoIAlign's sampling grid as sums over cells: which cells of a map each bin reads, and with what weight.

The peers put ceil(length / S) points along each axis of a bin, so that neighbouring points lie at most one cell apart
(detectron2's and mmdetection's `sampling_ratio=0`). The points of a bin then share corners: g points read at most
g + 1 cells along an axis, and a bin is a sum over (g_y + 1) * (g_x + 1) cells, fewer than a fixed 2x2 grid's 16.

R boxes · r boxes with the same grid · S bins a side · g points along an axis of a bin · E cells in all bins
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Cells(NamedTuple):
    """What the bins of all boxes read, one bin after the other, as `ragged_weighted_sum` takes it."""

    rows: Tensor  # (E,) int64, of the table of cells
    weight: Tensor  # (E,)
    offsets: Tensor  # (R * S * S,) int64: where each bin starts


def grid_points(length: Tensor, bins: int) -> Tensor:
    """Points along each axis of a bin, (R, 2) int64, from the boxes' lengths (R, 2) in cells; none in an empty box."""
    return (length / bins).ceil().clamp(min=0).to(torch.int64)


def read_cells(low: Tensor, length: Tensor, points: Tensor, size: Tensor, base: Tensor, bins: int) -> Cells:
    """The cells of every bin of R boxes.

    Corner `low` and `length` (R, 2) in cells, `points` (R, 2) along x and y as `grid_points` gives them, `size` (R, 2)
    width and height of each box's map, `base` (R,) the table's row of that map's first cell.
    """
    cells = torch.where((points > 0).all(dim=1), (points + 1).prod(dim=1), 0)  # of a bin
    ends = (cells * bins * bins).cumsum(0)
    starts = ends - cells * bins * bins
    inner = torch.arange(bins * bins, device=low.device)
    offsets = (starts[:, None] + cells[:, None] * inner).flatten()
    total = int(ends[-1]) if len(ends) else 0
    index, weight = starts.new_empty(total), low.new_empty(total)
    for x_points, y_points in points[cells > 0].unique(dim=0).tolist():
        rows = ((points[:, 0] == x_points) & (points[:, 1] == y_points)).nonzero()[:, 0]
        x_index, x_weight = _axis(low[rows, 0], length[rows, 0], size[rows, 0], x_points, bins)
        y_index, y_weight = _axis(low[rows, 1], length[rows, 1], size[rows, 1], y_points, bins)
        y_index = base[rows, None, None] + y_index * size[rows, 0, None, None]
        place = starts[rows, None] + torch.arange(bins * bins * (x_points + 1) * (y_points + 1), device=low.device)
        index[place] = (y_index[:, :, None, :, None] + x_index[:, None, :, None, :]).flatten(1)  # (r, S, S, g+1, g+1)
        weight[place] = (y_weight[:, :, None, :, None] * x_weight[:, None, :, None, :]).flatten(1)
    return Cells(index, weight, offsets)


def _axis(low: Tensor, length: Tensor, limit: Tensor, points: int, bins: int) -> tuple[Tensor, Tensor]:
    """Along one axis of a map of `limit` cells: the cells that each bin reads and their weights, (r, S, g + 1) each."""
    place = (torch.arange(bins * points, device=low.device) + 0.5) / (bins * points)
    position = low[:, None] + length[:, None] * place  # (r, S * g)
    last = (limit - 1)[:, None]
    inside = ((position >= -1) & (position <= last + 1)).unflatten(1, (bins, points))
    position = torch.minimum(position.clamp(min=0), last).unflatten(1, (bins, points))
    cell = position[..., :1].floor() + torch.arange(points + 1, device=low.device)
    share = (1 - (position[..., None, :] - cell[..., :, None]).abs()).clamp(min=0)  # (r, S, g + 1, g): bilinear
    weight = (share * (inside / points)[..., None, :]).sum(dim=-1)
    return torch.minimum(cell, last[..., None]).to(torch.int64), weight
