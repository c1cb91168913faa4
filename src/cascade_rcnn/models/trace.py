"""Trace detections back through the stages to their proposals: the paper's Figure 1 for any image.

D detections · T stages that the detector runs · K proposals
"""

from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch

from cascade_rcnn import boxes as box_ops
from cascade_rcnn.arguments import shown
from cascade_rcnn.errors import UserError
from cascade_rcnn.images.inputs import ImageLike
from cascade_rcnn.images.tensors import to_tensor
from cascade_rcnn.masks import Masks
from cascade_rcnn.models.checkpoint import without_wrappers
from cascade_rcnn.models.detector import Detector, to_list


@dataclass(frozen=True, kw_only=True)
class Trace:
    """The detections of an image, sorted by score, each with the boxes that led to it.

    >>> found = trace(load("starter"), "photo.jpg")
    >>> found.boxes.shape == (len(found.scores), 4, 4)  # the proposal, then the box after each of three stages
    True
    >>> bool((found.above(0.5).scores >= 0.5).all())
    True
    """

    boxes: np.ndarray  # (D, T + 1, 4) XYXY in pixels of the image: the proposal, and the box after each stage
    stage_scores: np.ndarray  # (D, T): the class's score by each stage's own classifier
    scores: np.ndarray  # (D,)
    labels: np.ndarray  # (D,) 1..M
    masks: Masks | None = None  # of the final boxes; None if the model predicts none

    @property
    def ious(self) -> np.ndarray:
        """The IoU of each box with the final box, (D, T + 1); 1 in the last column."""
        boxes = torch.from_numpy(self.boxes)
        return box_ops.iou(boxes, boxes[:, -1:])[..., 0].numpy()

    def above(self, threshold: float) -> "Trace":
        """Keep the detections with at least this score."""
        keep = self.scores >= threshold
        return Trace(
            boxes=self.boxes[keep],
            stage_scores=self.stage_scores[keep],
            scores=self.scores[keep],
            labels=self.labels[keep],
            masks=None if self.masks is None else self.masks[torch.from_numpy(keep)],
        )


@torch.inference_mode()
def trace(model: Detector, image: ImageLike) -> Trace:
    """Detect in an image and trace each detection back through the stages to its proposal.

    The image can have any form that `predict` accepts for one; like there, the detector itself is not modified. Raises
    UserError for a path in the place of the detector.

    >>> found = trace(load("starter"), "photo.jpg").above(0.8)
    >>> bool((found.ious[:, 0] < found.ious[:, 2]).all())  # later boxes are closer to the final one
    True
    """
    model = without_wrappers(model)
    if not isinstance(model, Detector):
        raise UserError(f"model is {shown(model)}; give a detector, as cascade_rcnn.load returns")
    model = deepcopy(model).eval() if model.training else model
    batch, cascade = model.preprocess([to_tensor(image)]), model.roi_heads
    features = model.features(batch.pixels)
    proposals = model.propose(features, batch.sizes)
    laid_out = cascade.lay_out(features)
    outputs, valid = cascade.run_all(laid_out, proposals, batch.sizes)
    found, rows = cascade.detections(laid_out, outputs, valid, batch.sizes)
    for task in model.tasks:
        found = task(features, found)
    number = int(found.valid[0].sum())
    boxes, labels, row = found.boxes[0, :number], found.labels[0, :number], rows[0, :number]
    path = torch.stack([*(one.boxes[0, row] for one in outputs), boxes], dim=1)
    scale = (batch.original_sizes / batch.sizes).flip(-1).repeat(1, 2)
    path = box_ops.clip(path.flatten(0, 1)[None] * scale, batch.original_sizes).view(number, len(outputs) + 1, 4)
    sure = torch.stack([cascade.stage_scores(one)[0, row, labels - 1] for one in outputs], dim=1)
    masks = to_list(found, batch, model.config, encode=True)[0].get("masks")
    return Trace(
        boxes=path.float().cpu().numpy(),
        stage_scores=sure.float().cpu().numpy(),
        scores=found.scores[0, :number].float().cpu().numpy(),
        labels=labels.cpu().numpy(),
        masks=masks,
    )
