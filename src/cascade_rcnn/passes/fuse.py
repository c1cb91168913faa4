"""Fusion of detections in several views of one image: NMS with box voting.

Class-wise NMS over all views decides which objects there are, and their scores. Each box is then the mean of the boxes
of its class that overlap it with an IoU of 0.7 or more, its own included, weighted by their scores (Gidaris and
Komodakis, "Object detection via a multi-region and semantic segmentation-aware CNN model", 2015). On COCO persons this
gives more AP than NMS alone, and than weighted boxes fusion, which costs precision at high IoU.
"""

import torch

from cascade_rcnn import boxes as box_ops
from cascade_rcnn.nms import keep_mask
from cascade_rcnn.passes.interface import Found, join, rows

_VOTES = 0.7


def fuse(views: list[Found], nms_iou: float, most: int) -> Found:
    """Fuse the detections of views of one image, in the image's pixels; returns at most `most`, sorted by score.

    Further entries of a detection (masks, for one) are those of the view that it comes from.
    """
    if len(views) == 1:
        return views[0]
    found = join(views)
    boxes, scores, labels = (found[name] for name in ("boxes", "scores", "labels"))
    keep = keep_mask(boxes[None], scores[None], labels[None], torch.ones_like(scores, dtype=torch.bool)[None], nms_iou)
    order = scores.argsort(descending=True, stable=True)
    fused = rows(found, order[keep[0][order]][:most])
    votes = scores * (box_ops.iou(fused["boxes"], boxes) >= _VOTES) * (fused["labels"][:, None] == labels)
    return {**fused, "boxes": votes @ boxes / votes.sum(dim=1, keepdim=True)}
