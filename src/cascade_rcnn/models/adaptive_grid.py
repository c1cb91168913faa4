"""The sampling grid of adaptive RoIAlign: which cells of a feature map each bin reads, and with which weights.

detectron2 and mmdetection (`sampling_ratio=0`) place ceil(length / S) points along each axis of a bin, so that
neighbouring points are at most one cell apart. The points of a bin then share corners: g points read at most g + 1
cells along an axis, and a bin is a sum over (g_y + 1) * (g_x + 1) cells, fewer than the 16 of a fixed 2x2 grid.

R boxes · r boxes with the same grid · S bins per side · g points per bin and axis · E cells of all bins
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Cells(NamedTuple):
    """The cells read by the bins of all boxes, bin by bin: arguments of `ragged_weighted_sum`."""

    rows: Tensor  # (E,) int64, rows of the table of cells
    weight: Tensor  # (E,)
    offsets: Tensor  # (R * S * S,) int64: index of each bin's first entry


def grid_points(length: Tensor, bins: int) -> Tensor:
    """Return the number of points along each axis of a bin, (R, 2) int64, for box sizes (R, 2) in cells; 0 if empty."""
    return (length / bins).ceil().clamp(min=0).to(torch.int64)


def read_cells(low: Tensor, length: Tensor, points: Tensor, size: Tensor, base: Tensor, bins: int) -> Cells:
    """Return the cells of every bin of R boxes.

    `low` (top left corner) and `length` are (R, 2) in cells, `points` (R, 2) is the output of `grid_points`, `size`
    (R, 2) the width and height of each box's map, and `base` (R,) the table row of that map's first cell.
    """
    cells = torch.where((points > 0).all(dim=1), (points + 1).prod(dim=1), 0)  # per bin
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
    """Return the cells that each bin reads along one axis of `limit` cells and their weights, (r, S, g + 1) each."""
    place = (torch.arange(bins * points, device=low.device) + 0.5) / (bins * points)
    position = low[:, None] + length[:, None] * place  # (r, S * g)
    last = (limit - 1)[:, None]
    inside = ((position >= -1) & (position <= last + 1)).unflatten(1, (bins, points))
    position = torch.minimum(position.clamp(min=0), last).unflatten(1, (bins, points))
    cell = position[..., :1].floor() + torch.arange(points + 1, device=low.device)
    share = (1 - (position[..., None, :] - cell[..., :, None]).abs()).clamp(min=0)  # (r, S, g + 1, g): bilinear
    weight = (share * (inside / points)[..., None, :]).sum(dim=-1)
    return torch.minimum(cell, last[..., None]).to(torch.int64), weight
