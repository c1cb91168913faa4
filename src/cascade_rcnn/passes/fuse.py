"""Weighted boxes fusion: the detections of several views of one image become one list.

In order of their scores, detections join the first group of their class whose box they overlap with an IoU of 0.55 or
more, or start a new one. A group's box is the mean of its members', weighted by their scores; its score is the sum of
them divided by the number of views, so that what a single view finds counts less. (Solovyev, Wang and Gabruseva,
"Weighted boxes fusion: Ensembling boxes from different object detection models", 2021.)
"""

import torch

from cascade_rcnn import boxes as box_ops
from cascade_rcnn.passes.interface import Found, rows

_SAME = 0.55


def fuse(views: list[Found], most: int) -> Found:
    """Fuse the detections of views of one image, in the image's pixels; returns at most `most`, sorted by score.

    Further entries of a detection (masks, for one) are those of the group's best.
    """
    if len(views) == 1:
        return views[0]
    found = {name: torch.cat([view[name] for view in views]) for name in views[0]}
    found = rows(found, found["scores"].argsort(descending=True, stable=True))
    groups = [
        group
        for label in found["labels"].unique().tolist()
        for group in _groups(found, (found["labels"] == label).nonzero()[:, 0])
    ]
    if not groups:
        return found
    fused = rows(found, torch.tensor([group[0] for group in groups]))
    for row, group in enumerate(groups):
        weights = found["scores"][group]
        fused["boxes"][row] = weights @ found["boxes"][group] / weights.sum()
        fused["scores"][row] = (weights.sum() / len(views)).clamp(max=1)
    return rows(fused, fused["scores"].argsort(descending=True, stable=True)[:most])


def _groups(found: Found, there: torch.Tensor) -> list[list[int]]:
    """Group detections of one class, in order of their scores: the rows of each group."""
    boxes, scores = found["boxes"].float(), found["scores"].float()
    means, groups = boxes.new_zeros((len(there), 4)), []
    for row in there.tolist():
        iou = box_ops.iou(boxes[row][None], means[: len(groups)])[0]
        best = int(iou.argmax()) if len(groups) else 0
        if not groups or float(iou[best]) < _SAME:
            best = len(groups)
            groups.append([])
        groups[best].append(row)
        weights = scores[groups[best]]
        means[best] = weights @ boxes[groups[best]] / weights.sum()
    return groups
