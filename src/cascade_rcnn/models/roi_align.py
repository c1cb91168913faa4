"""RoIAlign over a feature pyramid or a single map (He et al. 2017), as one weighted gather.

With a fixed sampling grid, every output bin is a weighted sum of cells of the feature maps: 4 points x 4 bilinear
corners = 16 cells for a 2x2 grid. All levels and images are packed into one table with a row per cell, and
`weighted_sum` computes all bins in one call, with the same result as torchvision's kernel, several times faster on a
CPU. Position-sensitive pooling (R-FCN) is the same gather, with separate channels for each bin. With an adaptive grid,
each bin gathers as many rows as it needs; on GPUs and under compilation, torchvision's kernel does this.

B images · K boxes · R = B * K · S bins per side · C channels · n sampling points per bin and axis
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cascade_rcnn import boxes as box_ops
from cascade_rcnn.config import RoIAlignConfig
from cascade_rcnn.errors import UserError
from cascade_rcnn.models.adaptive_grid import grid_points, read_cells
from cascade_rcnn.models.weighted_sum import ragged_weighted_sum, weighted_sum

_CANONICAL_SIZE, _CANONICAL_LEVEL = 224, 4  # a box of this size is assigned to P4 (FPN, eq. 1)
_FARTHEST = 1e8  # pixels; boxes that are NaN or extend farther are treated as empty
_MOST_POINTS = 16  # per bin and axis; boxes that need more go to the kernel, which needs no memory for them


def levels(boxes: Tensor, strides: tuple[int, ...] = (4, 8, 16, 32)) -> Tensor:
    """Assign boxes to pyramid levels: (..., 4) -> (...) int64, indices into `strides`."""
    finest = int(math.log2(strides[0]))
    size = box_ops.area(boxes).sqrt()
    level = torch.floor(_CANONICAL_LEVEL + torch.log2(size / _CANONICAL_SIZE + 1e-8))
    return level.clamp(finest, finest + len(strides) - 1).to(torch.int64) - finest


class Table(NamedTuple):
    """Feature maps, laid out for pooling once for all boxes and stages."""

    maps: list[Tensor]  # (B, C, H_l, W_l) each
    rows: Tensor | None  # (P, C): every cell of every map, ordered by level and image; None: use the kernel on `maps`
    geometry: Tensor | None  # (L, 4) int64: height and width of each level's map, stride, and row of its first cell


class PyramidRoIAlign(nn.Module):
    """Pool the features of each box from the pyramid level that fits its size, or from the only map.

    If `position_sensitive`, maps have S * S groups of C channels, and bin s of a box reads only the s-th group.
    """

    def __init__(self, config: RoIAlignConfig, strides: tuple[int, ...], *, position_sensitive: bool = False) -> None:
        """`strides` are those of the maps to pool from, the first ones passed to `forward`."""
        super().__init__()
        if position_sensitive and config.sampling == 0:
            raise UserError("roi_align: position-sensitive pooling has no adaptive grid; set sampling to 1 or more")
        if config.sampling == 0:
            from torchvision.ops import roi_align  # imported on demand: it takes as long as importing torch

            self._kernel = roi_align
        self.config, self.position_sensitive = config, position_sensitive
        self.strides = strides

    def table(self, features: list[Tensor]) -> Table:
        """Lay out [P2..P5 (B, C, H_l, W_l)] for `forward`, to share between calls."""
        maps = features[: len(self.strides)]
        adaptive = self.config.sampling == 0
        if adaptive and (maps[0].device.type != "cpu" or torch.compiler.is_compiling()):
            return Table([_for_kernel(x) for x in maps], None, None)
        rows = _rows(maps, self._channels(maps))
        return Table(maps, rows.float() if adaptive else rows, _geometry(maps, self.strides))

    def _channels(self, maps: list[Tensor]) -> int:
        """Return the number of pooled channels, C."""
        return maps[0].shape[1] // (self.config.resolution**2 if self.position_sensitive else 1)

    def forward(self, features: list[Tensor] | Table, boxes: Tensor) -> Tensor:
        """Pool [P2..P5 (B, C, H_l, W_l)] in boxes (B, K, 4), in input pixels, to (R, C, S, S) in channels-last memory.

        Position-sensitive maps are (B, S * S * C, H_l, W_l).
        """
        table = features if isinstance(features, Table) else self.table(features)
        boxes = boxes.detach().float()
        boxes = torch.where((boxes.abs() <= _FARTHEST).all(dim=-1, keepdim=True), boxes, 0.0)
        pooled = self._adaptive(table, boxes) if self.config.sampling == 0 else self._gather(table, boxes)
        bins = self.config.resolution
        shape = (boxes.shape[0] * boxes.shape[1], bins, bins, self._channels(table.maps))  # R may be 0
        return pooled.view(shape).permute(0, 3, 1, 2)

    def _gather(self, table: Table, boxes: Tensor) -> Tensor:
        """Pool with a fixed grid; return (R * S * S, C)."""
        assert table.rows is not None
        assert table.geometry is not None
        bins, points = self.config.resolution, self.config.sampling
        height, width, stride, start = table.geometry[levels(boxes, self.strides)].unbind(-1)  # (B, K) each
        low, high = (boxes / stride[..., None]).flatten(0, 1).split(2, dim=1)  # (R, 2): x and y, in cells
        low, length = (low - 0.5, high - low) if self.config.aligned else (low, (high - low).clamp(min=1))
        last = torch.stack([width, height], dim=-1).view(-1, 2, 1) - 1
        place = (torch.arange(bins * points, device=boxes.device) + 0.5) / (bins * points)
        position = low[..., None] + length[..., None] * place  # (R, 2, S * n)
        inside = (position >= -1) & (position <= last + 1)
        position = torch.minimum(position.clamp(min=0), last)
        cell = position.to(torch.int64)
        fraction = position - cell
        cells = torch.stack([cell, torch.minimum(cell + 1, last)], dim=-1)
        shares = torch.stack([1 - fraction, fraction], dim=-1) * (inside / points)[..., None]
        x, y = cells.view(-1, 2, bins, 2 * points).unbind(1)  # (R, S, 2n): the cells that each bin reads along an axis
        x_share, y_share = shares.view(-1, 2, bins, 2 * points).unbind(1)
        image = torch.arange(boxes.shape[0], device=boxes.device)[:, None]
        y = (start + image * height * width).view(-1, 1, 1) + y * width.view(-1, 1, 1)
        index = y[:, :, None, :, None] + x[:, None, :, None, :]  # (R, S, S, 2n, 2n)
        weight = y_share[:, :, None, :, None] * x_share[:, None, :, None, :]
        if self.position_sensitive:  # rows are (cell, bin)
            index = index * bins**2 + torch.arange(bins**2, device=index.device).view(bins, bins, 1, 1)
        return weighted_sum(index.flatten(0, 2).flatten(1), table.rows, weight.flatten(0, 2).flatten(1))

    def _adaptive(self, table: Table, boxes: Tensor) -> Tensor:
        """Pool with an adaptive grid of ceil(size / S) points, in float32; return (R * S * S, C) in the maps' dtype."""
        level, bins = levels(boxes, self.strides), self.config.resolution
        image = torch.arange(boxes.shape[0], device=boxes.device)[:, None].expand_as(level)
        dtype = table.maps[0].dtype
        if table.rows is None:
            return self._by_kernel(table.maps, boxes.flatten(0, 1), image.flatten(), level.flatten()).to(dtype)
        assert table.geometry is not None
        height, width, stride, start = table.geometry[level.flatten()].unbind(-1)
        corners = boxes.flatten(0, 1) / stride[:, None] - (0.5 if self.config.aligned else 0.0)
        low, length = corners[:, :2], corners[:, 2:] - corners[:, :2]
        length = length if self.config.aligned else length.clamp(min=1)
        points = grid_points(length, bins)
        wide = (points > _MOST_POINTS).any(dim=1)
        points = points.masked_fill(wide[:, None], 0)
        base = start + image.flatten() * height * width
        cells = read_cells(low, length, points, torch.stack([width, height], dim=1), base, bins)
        pooled = ragged_weighted_sum(cells.rows, table.rows, cells.weight, cells.offsets)
        if bool(wide.any()):
            rows, maps = wide.nonzero()[:, 0], [_for_kernel(x) for x in table.maps]
            one = self._by_kernel(maps, boxes.flatten(0, 1)[rows], image.flatten()[rows], level.flatten()[rows])
            pooled = pooled.view(len(wide), -1).index_copy(0, rows, one)
        return pooled.to(dtype)

    def _by_kernel(self, maps: list[Tensor], boxes: Tensor, image: Tensor, level: Tensor) -> Tensor:
        """Pool with torchvision's kernel: boxes (R, 4), image (R,), level (R,) -> (R, S * S * C).

        Every level pools every box; on levels other than its own, a box is made empty, which costs next to nothing.
        """
        total = None
        for number, (x, stride) in enumerate(zip(maps, self.strides, strict=True)):
            own = (level == number)[:, None]
            rois = torch.cat([image[:, None].to(boxes.dtype), boxes * own], dim=1)
            pooled = self._kernel(x, rois, self.config.resolution, 1 / stride, 0, self.config.aligned)
            pooled = pooled * own[..., None, None]  # unless aligned, even an empty box has a sampling point
            total = pooled if total is None else total + pooled
        assert total is not None
        return total.permute(0, 2, 3, 1).flatten(1)


def _for_kernel(x: Tensor) -> Tensor:
    """Convert a map for torchvision's kernel, which needs contiguous NCHW, to float32."""
    return x.float().contiguous()


def _geometry(maps: list[Tensor], strides: tuple[int, ...]) -> Tensor:
    """Return height, width, stride and first row of each level, made on the device: graphs cannot capture copies."""
    numbers, start = [], 0
    for x, stride in zip(maps, strides, strict=True):
        numbers += [x.shape[-2], x.shape[-1], stride, start]
        start += x.shape[0] * x.shape[-2] * x.shape[-1]
    scalars = [torch.scalar_tensor(number, dtype=torch.int64, device=maps[0].device) for number in numbers]
    return torch.stack(scalars).view(-1, 4)


def _rows(maps: list[Tensor], channels: int) -> Tensor:
    return torch.cat([x.permute(0, 2, 3, 1).unflatten(3, (-1, channels)).flatten(0, 3) for x in maps])
