"""A detector with known ground truth: objects are painted, and it finds exactly their pixels."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from cascade_rcnn.masks import Masks
from cascade_rcnn.passes.interface import rows

Box = tuple[int, int, int, int]


def _paint(height: int, width: int, boxes: list[Box]) -> Tensor:
    """Paint an image (3, H, W): channel 0 holds object numbers, channel 1 the low bits of the object's area."""
    image = torch.zeros((3, height, width), dtype=torch.uint8)
    for number, (x1, y1, x2, y2) in enumerate(boxes, start=1):
        image[0, y1:y2, x1:x2] = number
    return image


class Seeing:
    """A detector that finds every painted object, as far as it is visible, with its mask.

    The less of an object is visible, the lower its score, unless the detector is `sure`. Odd numbers are of class 1,
    even ones of class 2.
    """

    def __init__(self, boxes: list[Box], sure: bool = False) -> None:
        self.areas = {k: (x2 - x1) * (y2 - y1) for k, (x1, y1, x2, y2) in enumerate(boxes, start=1)}
        self.sure = sure
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, images: list[Tensor], scale: float = 1.0) -> list[dict[str, Any]]:
        self.shapes += [tuple(image.shape) for image in images]
        return [self.see(image[0]) for image in images]

    def see(self, plane: Tensor) -> dict[str, Any]:
        numbers = [k for k in plane.unique().tolist() if k]
        masks = torch.stack([plane == k for k in numbers]) if numbers else torch.zeros((0, *plane.shape), dtype=bool)
        boxes = []
        for mask in masks:
            y, x = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
            boxes.append([int(x[0]), int(y[0]), int(x[-1]) + 1, int(y[-1]) + 1])
        shown = [
            1.0 if self.sure else float(mask.sum()) / self.areas[k] for k, mask in zip(numbers, masks, strict=True)
        ]
        found = {
            "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
            "scores": torch.tensor([(0.5 + 0.001 * k) * s for k, s in zip(numbers, shown, strict=True)]),
            "labels": torch.tensor([2 - k % 2 for k in numbers], dtype=torch.int64),
            "masks": Masks.encode(masks),
        }
        order = found["scores"].argsort(descending=True)
        return rows(found, order)


@pytest.fixture(scope="session")
def seeing() -> type[Seeing]:
    return Seeing


@pytest.fixture(scope="session")
def paint() -> Callable[[int, int, list[Box]], Tensor]:
    return _paint
