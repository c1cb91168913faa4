"""Mask targets: RoIAlign of each object's mask in its RoI, computed from the encoded masks.

The result equals torchvision's `roi_align` (adaptive grid) on each object's full bitmap. Averaging over a bin's
sampling points is separable, so a target is rows @ mask @ columns. Only the part of the mask in the intersection of its
bounding rectangle and the RoI is decoded; outside the rectangle it is zero.

R RoIs · r RoIs of a chunk · S bins per side · g sampling points per bin and axis · h, w size of a window
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from cascade_rcnn.masks import Masks

_CELLS = 1 << 22  # pixels of all windows decoded at once; bounds the memory


@torch.no_grad()
def mask_targets(
    masks: Sequence[Masks], image: Tensor, matched: Tensor, boxes: Tensor, bins: int, *, soft: bool
) -> Tensor:
    """Pool the mask of object `matched` (R,) of `image` (R,) in boxes (R, 4), in mask pixels: (R, S, S) float32.

    Values are thresholded at 0.5 or, with `soft`, left as they are and pooled without the half-pixel offset.
    """
    targets = boxes.new_zeros((len(boxes), bins, bins), dtype=torch.float32)
    device = boxes.device
    numbers = torch.tensor([[len(one) for one in masks], [len(one.data) for one in masks]], device=device)
    before = (numbers.cumsum(dim=1) - numbers)[:, image]  # objects and bytes of preceding images
    sizes = torch.tensor([one.size for one in masks], device=device)
    row = matched + before[0]
    none = torch.zeros((1, 4), dtype=torch.int64, device=device)  # an empty object to match if an image has none
    bounds = torch.cat([*(one.bounds.long() for one in masks), none])[row]
    first = torch.cat([*(one.first[:-1] for one in masks), none[:, 0]])[row] + before[1]
    data = torch.cat([one.data for one in masks])
    low, length = boxes[:, :2].float(), (boxes[:, 2:] - boxes[:, :2]).float()
    low, length = (low, length.clamp(min=1)) if soft else (low - 0.5, length)
    start = torch.maximum(bounds[:, :2], (low - 1).floor().long())  # of the window
    stop = torch.minimum(bounds[:, 2:], (low + length + 2).ceil().long())
    with torch.autocast(device.type, enabled=False):
        for rows, (width, height) in _chunks(stop - start):
            weights = (
                _axis(low[rows, k], length[rows, k], sizes[image[rows], 1 - k], start[rows, k], span, bins)
                for k, span in ((0, width), (1, height))
            )
            bits = _decode(data, first[rows], bounds[rows], start[rows], width, height)
            x_weight, y_weight = weights
            targets[rows] = y_weight @ bits @ x_weight.mT
    return targets if soft else (targets >= 0.5).float()


def _chunks(spans: Tensor) -> Iterator[tuple[Tensor, tuple[int, int]]]:
    """Yield the rows of windows (R, 2) of similar area, with their largest width and height."""
    order = spans.prod(dim=1).argsort()
    order = order[(spans[order] > 0).all(dim=1)]
    sides, begin, width, height = spans[order].tolist(), 0, 0, 0
    for k, (w, h) in enumerate(sides):
        if k > begin and (k + 1 - begin) * max(width, w) * max(height, h) > _CELLS:
            yield order[begin:k], (width, height)
            begin, width, height = k, 0, 0
        width, height = max(width, w), max(height, h)
    if begin < len(sides):
        yield order[begin:], (width, height)


def _axis(low: Tensor, length: Tensor, limit: Tensor, start: Tensor, span: int, bins: int) -> Tensor:
    """Return the weight of each of `span` pixels from `start` (r,) on in each bin: (r, S, span).

    The image has `limit` (r,) pixels along this axis; points up to one pixel outside it sample its border.
    """
    number = (length / bins).ceil().clamp(min=0)[:, None, None]  # (r, 1, 1)
    most = int(number.max())
    point = torch.arange(most, device=low.device)
    place = torch.arange(bins, device=low.device)[:, None] + (point + 0.5) / number.clamp(min=1)  # (r, S, g)
    position = low[:, None, None] + length[:, None, None] / bins * place
    last = (limit - 1)[:, None, None]
    share = ((point < number) & (position >= -1) & (position <= last + 1)) / number.clamp(min=1)
    position = torch.minimum(position.clamp(min=0), last)
    cell = position.floor()
    fraction = position - cell
    index = torch.cat([cell, torch.minimum(cell + 1, last)], dim=-1).long() - start[:, None, None]
    weight = torch.cat([share * (1 - fraction), share * fraction], dim=-1)
    weight = weight * ((index >= 0) & (index < span))
    total = low.new_zeros((len(low), bins, span))
    return total.scatter_add_(2, index.clamp(0, span - 1), weight)


def _decode(data: Tensor, first: Tensor, bounds: Tensor, start: Tensor, width: int, height: int) -> Tensor:
    """Decode windows that begin at `start` (r, 2): (r, h, w), 0 outside the mask's rectangle.

    The masks fill the rectangles `bounds` (r, 4); their bytes begin at `first` (r,).
    """
    size = (bounds[:, 2:] - bounds[:, :2])[..., None]
    x = torch.arange(width, device=data.device) + (start[:, 0] - bounds[:, 0])[:, None]
    y = torch.arange(height, device=data.device) + (start[:, 1] - bounds[:, 1])[:, None]
    inside = (x < size[:, 0])[:, None] & (y < size[:, 1])[..., None]
    bit = y[..., None] * size[:, :1] + x[:, None]  # (r, h, w)
    byte = data[(first[:, None, None] + (bit >> 3)).clamp(max=len(data) - 1)]
    return ((byte >> (7 - (bit & 7))) & 1 & inside).float()
