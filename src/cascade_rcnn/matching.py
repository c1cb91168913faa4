"""Equation 5: label candidates by their IoU with the ground truth.

B images · N candidates · G ground-truth boxes (at least one slot)
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from cascade_rcnn import boxes as box_ops
from cascade_rcnn.structures import Targets

CROWD_COVERAGE = 0.5  # a candidate covered this much by an ignored region is neither foreground nor background
_PAIRS = 2**24  # objects x candidates compared at a time


class Matches(NamedTuple):
    """The training label of each candidate."""

    labels: Tensor  # (B, N) int64: the class, or 0
    positive: Tensor  # (B, N) bool
    negative: Tensor  # (B, N) bool; candidates that are neither are not trained on
    matched: Tensor  # (B, N) int64: index of the matched object, out of G
    iou: Tensor  # (B, N): IoU with that object; -1 in images without objects


@torch.no_grad()
def match(
    boxes: Tensor,
    valid: Tensor,
    targets: Targets,
    *,
    positive_iou: float,
    negative_iou: float | None = None,
    low_quality_iou: float | None = None,
    low_quality_reassigns: bool = False,
    min_object_size: float = 0.0,
) -> Matches:
    """Label candidates by equation 5 with u = `positive_iou`; boxes (B, N, 4), valid (B, N).

    A candidate below `negative_iou` (default: u) is background, unless it lies mostly in an ignored region.
    With `low_quality_iou` (the RPN), each object's best candidates with at least that IoU are positive as well; they
    are assigned to their own best object (detectron2) or, with `low_quality_reassigns`, to this one (mmdetection).
    Candidates that match an object with a side shorter than `min_object_size` are neither positive nor negative.
    """
    boxes = torch.where(valid[..., None], boxes, 0.0)
    large = (targets.boxes[..., 2:] - targets.boxes[..., :2] >= min_object_size).all(dim=-1)
    best, index, low_quality = _compare(boxes, targets, low_quality_iou, large)
    positive = best >= positive_iou
    negative = best < (positive_iou if negative_iou is None else negative_iou)
    if low_quality is not None:
        index = torch.where(low_quality >= 0, low_quality, index) if low_quality_reassigns else index
        positive, negative = positive | (low_quality >= 0), negative & (low_quality < 0)
    if targets.ignore is not None:
        negative = negative & ~_in_ignored_region(boxes, targets.boxes, targets.ignore)
    positive, negative = positive & valid & large.gather(1, index), negative & valid
    labels = torch.where(positive, targets.labels.gather(1, index), 0)
    return Matches(labels, positive, negative, index, best)


def _slices(objects: int, candidates: int) -> Iterator[slice]:
    """Split the objects into slices to compare at a time, to bound memory for images with many objects."""
    step = max(1, _PAIRS // max(1, candidates))
    return (slice(start, start + step) for start in range(0, objects, step))


def _compare(
    boxes: Tensor, targets: Targets, low_quality_iou: float | None, large: Tensor
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return each box's best IoU (B, N) and the index of that object (B, N); the first object wins ties.

    With `low_quality_iou`, also return the low-quality matches (B, N): the last object, among those that are `large`
    (B, G), whose best box this is (ties included) with an IoU above 0 and at least `low_quality_iou`; -1 if none.
    """
    best = boxes.new_full(boxes.shape[:2], -1.0)
    index = torch.zeros(boxes.shape[:2], dtype=torch.int64, device=boxes.device)
    low_quality = None if low_quality_iou is None else torch.full_like(index, -1)
    for part in _slices(targets.boxes.shape[1], boxes.shape[1]):
        overlap = box_ops.iou(targets.boxes[:, part], boxes)  # (B, G', N)
        overlap = overlap.masked_fill_(~targets.valid[:, part, None], -1.0)
        part_best, part_index = overlap.max(dim=1)
        better = part_best > best
        best = torch.where(better, part_best, best)
        index = torch.where(better, part_index + part.start, index)
        if low_quality is not None and low_quality_iou is not None:
            top = overlap.amax(dim=2, keepdim=True)
            wanted = (top > 0) & (top >= low_quality_iou) & large[:, part, None]
            hit = overlap >= torch.where(wanted, top, 2.0)
            number = torch.arange(part.start, part.start + hit.shape[1], device=boxes.device)
            low_quality = torch.maximum(low_quality, torch.where(hit, number[:, None], -1).amax(dim=1))
    return best, index, low_quality


def _in_ignored_region(boxes: Tensor, truth: Tensor, ignore: Tensor) -> Tensor:
    """Return whether at least half of each candidate lies in one ignored region, (B, N)."""
    inside = [
        ((box_ops.intersection_over_area(truth[:, part], boxes) >= CROWD_COVERAGE) & ignore[:, part, None]).any(dim=1)
        for part in _slices(truth.shape[1], boxes.shape[1])
    ]
    return torch.stack(inside).any(dim=0)
