"""Postprocessing shared by all architectures: from scored boxes to detections.

B images · K boxes · M classes · R regressors (1 or M) · D detections
"""

import torch
from torch import Tensor

from cascade_rcnn import boxes as box_ops
from cascade_rcnn.config import InferenceConfig
from cascade_rcnn.nms import keep_mask
from cascade_rcnn.structures import Detections

# Top-scoring (box, class) pairs that enter NMS: this many per detection kept, and at least so many in total. Greedy NMS
# on these is exact as long as `max_detections` of them survive, which fails only with as many overlapping boxes.
_PER_DETECTION, _LEAST = 40, 1000


def select(boxes: Tensor, scores: Tensor, sizes: Tensor, config: InferenceConfig) -> tuple[Detections, Tensor]:
    """Apply the score threshold and NMS, per class unless it is agnostic, and keep the top `max_detections`.

    boxes (B, K, R, 4), scores (B, K, M), sizes (B, 2) -> D slots per image, boxes clipped to the image, and which of
    the K boxes each is, (B, D).
    """
    regressors, classes = boxes.shape[2], scores.shape[2]
    score = scores.flatten(1)
    candidates = max(_LEAST, config.max_detections * _PER_DETECTION)
    score, index = score.topk(min(score.shape[1], candidates), dim=1)
    label = index % classes
    row = index // classes * regressors + (label if regressors > 1 else 0)
    box = box_ops.gather(boxes.flatten(1, 2), row)
    box = box_ops.clip(box, sizes)
    valid = (score > config.score_threshold) & box_ops.nonempty(box, config.min_size)
    groups = torch.zeros_like(label) if config.agnostic_nms else label
    valid = keep_mask(box, score, groups, valid, config.nms_iou)
    score, order = torch.where(valid, score, 0.0).topk(min(config.max_detections, score.shape[1]), dim=1)
    valid = valid.gather(1, order)
    box = box_ops.gather(box, order).masked_fill(~valid[..., None], 0.0)
    rows = (index // classes).gather(1, order)
    return Detections(box, score, torch.where(valid, label.gather(1, order) + 1, 0), valid), rows
