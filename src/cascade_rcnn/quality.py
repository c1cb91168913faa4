"""Equation 5: a hypothesis' label follows from its IoU with the ground truth; and drawing a training sample.

B images · N candidates · G ground-truth boxes (at least one slot) · S samples
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from cascade_rcnn import boxes as box_ops
from cascade_rcnn.structures import Targets

CROWD_COVERAGE = 0.5  # a candidate this far inside an ignored region is neither object nor background
_PAIRS = 2**24  # of objects and candidates that are compared at a time


class Assignment(NamedTuple):
    """What each candidate is trained to be."""

    labels: Tensor  # (B, N) int64: the class, or 0
    positive: Tensor  # (B, N) bool
    negative: Tensor  # (B, N) bool; neither: not trained on
    truth: Tensor  # (B, N, 4): the ground truth it is compared with
    iou: Tensor  # (B, N): with that ground truth; -1 in an image without any


class Sample(NamedTuple):
    """The candidates a step trains on."""

    rows: Tensor  # (B, S) int64: which of the N
    valid: Tensor  # (B, S) bool


@torch.no_grad()
def assign(
    boxes: Tensor,
    valid: Tensor,
    targets: Targets,
    *,
    positive_iou: float,
    negative_iou: float | None = None,
    rescue_from: float | None = None,
    rescue_reassigns: bool = False,
    min_object_size: float = 0.0,
) -> Assignment:
    """Label candidates by equation 5 with u = `positive_iou`; boxes (B, N, 4), valid (B, N).

    A candidate below `negative_iou` (default: u) is background, unless it lies mostly in an ignored region.
    With `rescue_from` (the RPN) every object's best candidates are positive too, if their IoU reaches it; they learn
    their own best object (detectron2) or, with `rescue_reassigns`, the rescued one (mmdetection).
    Objects narrower or lower than `min_object_size` are not learnt: what would be positive for them is neither.
    """
    boxes = torch.where(valid[..., None], boxes, 0.0)
    large = (targets.boxes[..., 2:] - targets.boxes[..., :2] >= min_object_size).all(dim=-1)
    best, index, rescued = _compare(boxes, targets, rescue_from, large)
    positive = best >= positive_iou
    negative = best < (positive_iou if negative_iou is None else negative_iou)
    if rescued is not None:
        index = torch.where(rescued >= 0, rescued, index) if rescue_reassigns else index
        positive, negative = positive | (rescued >= 0), negative & (rescued < 0)
    if targets.ignore is not None:
        negative = negative & ~_in_ignored_region(boxes, targets.boxes, targets.ignore)
    positive, negative = positive & valid & large.gather(1, index), negative & valid
    labels = torch.where(positive, targets.labels.gather(1, index), 0)
    return Assignment(labels, positive, negative, box_ops.gather(targets.boxes, index), best)


def _slices(objects: int, candidates: int) -> Iterator[slice]:
    """Objects compared at a time: memory stays bounded however many an image has."""
    step = max(1, _PAIRS // max(1, candidates))
    return (slice(start, start + step) for start in range(0, objects, step))


def _compare(
    boxes: Tensor, targets: Targets, rescue_from: float | None, large: Tensor
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Each box's best IoU (B, N) and its object's index (B, N). Ties: the first.

    With `rescue_from` also, (B, N), the last object, of those that are `large` (B, G), for which this box is (or ties
    for) the best of all, with an IoU above 0 and of at least that; else -1.
    """
    best = boxes.new_full(boxes.shape[:2], -1.0)
    index = torch.zeros(boxes.shape[:2], dtype=torch.int64, device=boxes.device)
    rescued = None if rescue_from is None else torch.full_like(index, -1)
    for part in _slices(targets.boxes.shape[1], boxes.shape[1]):
        overlap = box_ops.iou(targets.boxes[:, part], boxes)  # (B, G', N)
        overlap = overlap.masked_fill_(~targets.valid[:, part, None], -1.0)
        part_best, part_index = overlap.max(dim=1)
        better = part_best > best
        best = torch.where(better, part_best, best)
        index = torch.where(better, part_index + part.start, index)
        if rescued is not None and rescue_from is not None:
            top = overlap.amax(dim=2, keepdim=True)
            wanted = (top > 0) & (top >= rescue_from) & large[:, part, None]
            hit = overlap >= torch.where(wanted, top, 2.0)
            number = torch.arange(part.start, part.start + hit.shape[1], device=boxes.device)
            rescued = torch.maximum(rescued, torch.where(hit, number[:, None], -1).amax(dim=1))
    return best, index, rescued


def _in_ignored_region(boxes: Tensor, truth: Tensor, ignore: Tensor) -> Tensor:
    """(B, N): at least half of the candidate lies in one ignored region."""
    inside = [
        ((box_ops.covered(truth[:, part], boxes) >= CROWD_COVERAGE) & ignore[:, part, None]).any(dim=1)
        for part in _slices(truth.shape[1], boxes.shape[1])
    ]
    return torch.stack(inside).any(dim=0)


@torch.no_grad()
def sample(assignment: Assignment, number: int, positive_fraction: float) -> Sample:
    """Draw up to `number` candidates an image: at most that fraction positive, the rest background (Fast R-CNN, 2.3).

    With too few of either kind the sample is smaller (slots not valid). Positives come first.
    """
    positive, negative = assignment.positive, assignment.negative
    quota = int(number * positive_fraction)
    number = min(number, positive.shape[1])
    draw = torch.rand(positive.shape, device=positive.device)
    chosen = _drawn(draw, positive, min(quota, number))
    rank = torch.where(negative, draw, -1.0).masked_fill(chosen, 2.0)
    values, index = rank.topk(number, dim=1)
    return Sample(index, values >= 0)


def _drawn(draw: Tensor, among: Tensor, number: int) -> Tensor:
    """(B, N) bool: the `number` highest draws of those allowed."""
    values, index = torch.where(among, draw, -1.0).topk(number, dim=1)
    return torch.zeros_like(among).scatter(1, index, values >= 0)


def keep_all(assignment: Assignment) -> Sample:
    """The sample of every candidate that is positive or negative (later stages of the cascade, section 5.1)."""
    usable = assignment.positive | assignment.negative
    return Sample(torch.arange(usable.shape[1], device=usable.device).expand_as(usable), usable)
