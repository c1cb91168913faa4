"""Paste a mask head's maps of probabilities into the image, with bilinear interpolation at pixel centres.

The result equals detectron2's and mmdetection's `grid_sample`, computed separably as rows @ map @ columns. Beyond a
map's outermost cells, values fall to zero within half a cell. torch is imported only when given tensors.

N detections · S cells per side of a map · H, W size of the image
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from cascade_rcnn.masks import Masks

THRESHOLD = 0.5  # lowest probability of a pixel inside the mask


def paste(masks: "Tensor", boxes: "Tensor", height: int, width: int, *, whole: bool = False) -> "Tensor":
    """Paste maps (N, S, S) of boxes (N, 4) XYXY into the image: probabilities (N, H, W).

    With `whole`, paste into the boxes that `whole_pixels` returns.
    """
    import torch

    boxes = whole_pixels(boxes, masks.shape[-1]) if whole else boxes
    masks, boxes = masks.float(), boxes.float()

    def axis(low: "Tensor", high: "Tensor", pixels: int) -> "Tensor":
        centre = torch.arange(pixels, device=low.device) + 0.5
        place = (centre - low[:, None]) / (high - low).clamp(min=1e-6)[:, None] * masks.shape[-1] - 0.5  # in cells
        cells = torch.arange(masks.shape[-1], device=low.device)
        return (1 - (place[..., None] - cells).abs()).clamp(min=0)  # (N, pixels, S)

    with torch.autocast(masks.device.type, enabled=False):
        rows, columns = (axis(boxes[:, k], boxes[:, k + 2], side) for k, side in ((1, height), (0, width)))
        return rows @ masks @ columns.mT


def whole_pixels(boxes: Any, bins: int) -> Any:
    """Return the boxes (N, 4) into which torchvision pastes maps of S cells, for a tensor or an array.

    It pads the box by a cell on all sides and truncates it to whole pixels, with its bottom right pixel included.
    """
    centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2 * ((bins + 2) / bins)
    low, high = (abs(x) // 1 * ((x > 0) * 2 - 1) for x in (centre - half, centre + half))  # towards 0
    size = (high - low + 1).clip(min=1)
    box = boxes * 0
    box[:, :2], box[:, 2:] = low + size / (bins + 2), low + size - size / (bins + 2)
    return box


def paste_crops(
    masks: np.ndarray, boxes: np.ndarray, height: int, width: int, *, whole: bool = False
) -> Iterator[tuple[tuple[int, int, int, int], np.ndarray]]:
    """Yield the rectangle (x0, y0, x1, y1) in the image and the pixels (y1 - y0, x1 - x0) bool of each mask.

    Maps are (N, S, S), boxes (N, 4) XYXY. Only the pixels within each box are computed, one box at a time.
    """
    boxes = whole_pixels(boxes, masks.shape[-1]) if whole else boxes
    for one, box in zip(masks.astype(np.float32), boxes.astype(np.float32), strict=True):
        x, columns = _weights(box[0], box[2], width, one.shape[1])
        y, rows = _weights(box[1], box[3], height, one.shape[0])
        yield (x, y, x + len(columns), y + len(rows)), rows @ one @ columns.T >= THRESHOLD


def paste_encoded(masks: "Tensor", boxes: "Tensor", height: int, width: int, *, whole: bool = False) -> "Masks":
    """Paste like `paste_crops`, from tensors, and encode."""
    from cascade_rcnn.masks import Masks

    maps, places = (x.float().cpu().numpy() for x in (masks, boxes))
    pasted = paste_crops(maps, places, height, width, whole=whole)
    return Masks.build((height, width), ((bounds[:2], crop) for bounds, crop in pasted))


def _weights(low: np.float32, high: np.float32, pixels: int, cells: int) -> tuple[int, np.ndarray]:
    """Return the first pixel within low..high, and the weights (n, S) of the cells in each of the n pixels there."""
    start = int(np.clip(np.floor(low), 0, pixels))
    stop = int(np.clip(np.ceil(high), start, pixels))
    centre = np.arange(start, stop, dtype=np.float32) + np.float32(0.5)
    place = (centre - low) / max(high - low, np.float32(1e-6)) * np.float32(cells) - np.float32(0.5)
    return start, np.maximum(1 - np.abs(place[:, None] - np.arange(cells, dtype=np.float32)), 0)
