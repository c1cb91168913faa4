"""Fusion of detections in several views of an image: NMS with box voting.

NMS over all views, class-wise unless the model's is agnostic, selects detections and their scores. Each box then
becomes the mean of all boxes of its class with an IoU of at least 0.7 to it (or more, if NMS keeps such boxes apart),
itself included, weighted by their scores (Gidaris and Komodakis, "Object detection via a multi-region and semantic
segmentation-aware CNN model", 2015). On persons in COCO, this gives a higher AP than NMS alone, or than weighted boxes
fusion, which is less precise at high IoU.
"""

import torch

from cascade_rcnn import boxes as box_ops
from cascade_rcnn.config import InferenceConfig
from cascade_rcnn.nms import keep_mask
from cascade_rcnn.passes.interface import Found, join, rows

_VOTES = 0.7


def fuse(views: list[Found], config: InferenceConfig) -> Found:
    """Fuse detections from several views, in pixels of the image; return up to `max_detections`, sorted by score.

    Other fields of a detection, such as its mask, come from the view in which it was found.
    """
    if len(views) == 1:
        return views[0]
    found = join(views)
    boxes, scores, labels = (found[name] for name in ("boxes", "scores", "labels"))
    groups = torch.zeros_like(labels) if config.agnostic_nms else labels
    valid = torch.ones_like(scores, dtype=torch.bool)
    (keep,) = keep_mask(boxes[None], scores[None], groups[None], valid[None], config.nms_iou)
    order = scores.argsort(descending=True, stable=True)
    fused = rows(found, order[keep[order]][: config.max_detections])
    # Boxes that NMS keeps apart are other objects.
    close = box_ops.iou(fused["boxes"], boxes) >= max(_VOTES, config.nms_iou)
    votes = scores * close * (fused["labels"][:, None] == labels)
    return {**fused, "boxes": votes @ boxes / votes.sum(dim=1, keepdim=True)}
