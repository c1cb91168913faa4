"""A detector's heads with other inference options: another test stage, no ensemble, or one head applied repeatedly."""

import copy
from collections.abc import Mapping
from typing import Any

from cascade_rcnn.heads.cascade import Cascade
from cascade_rcnn.heads.iterative import iterative_bbox
from cascade_rcnn.models.detector import Detector


def heads_for(model: Detector, inference: Mapping[str, Any]) -> Cascade:
    """Return the heads of a detector with other inference options; they share its weights."""
    config = model.config.with_inference(**inference)
    if "iterations" in inference:
        stage, number = config.stages[0], len(config.stages)
        head = model.roi_heads.heads[0]
        own = model.roi_heads
        options = (own.box_loss, config.semantics, config.sampling, config.inference, own.lay_out, own.classification)
        heads = iterative_bbox(head, stage, number, *options)
        return heads.to(next(head.parameters()).device).eval()
    heads = copy.copy(model.roi_heads)
    heads.inference = config.inference
    return heads
