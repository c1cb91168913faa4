"""The dense batches that the model works on.

Every image of a batch has the same number of slots, and `valid` marks the ones in use; there are no lists.

B images · K proposals · G ground-truth boxes · D detections · M classes (label 0 is background, 1..M are classes)
Boxes are absolute XYXY pixels of the network's input, float32.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from cascade_rcnn.masks import Masks

# further fields of RoI tasks by name: (B, slots, ...), or one entry of encoded masks per image
Extras = dict[str, Tensor]
TargetExtras = dict[str, Tensor | tuple[Masks, ...]]
_NONE: Any = {}


class ImageBatch(NamedTuple):
    """A batch of resized, normalised, padded images."""

    pixels: Tensor  # (B, 3, H, W), channels_last
    sizes: Tensor  # (B, 2) float: height and width of each image inside the padding
    original_sizes: Tensor  # (B, 2) float: height and width before resizing


class Targets(NamedTuple):
    """Ground truth of a batch. G is at least 1: images without objects only have invalid slots."""

    boxes: Tensor  # (B, G, 4)
    labels: Tensor  # (B, G) int64, 1..M
    valid: Tensor  # (B, G) bool: an object to detect
    ignore: Tensor | None  # (B, G) bool: a crowd region (which is not valid); None if the batch has none
    extras: TargetExtras = _NONE
    scale: Tensor | None = None  # (B, 2): resized width and height over the original ones; None: not resized


class Proposals(NamedTuple):
    """The proposals of a batch: the input of a cascade stage."""

    boxes: Tensor  # (B, K, 4)
    valid: Tensor  # (B, K) bool

    def with_truth(self, targets: Targets) -> "Proposals":
        """Append the ground truth, (B, K + G), as in training and for Figure 5 (b)."""
        boxes = torch.cat([self.boxes, targets.boxes], dim=1)
        return Proposals(boxes, torch.cat([self.valid, targets.valid], dim=1))


class StageOutput(NamedTuple):
    """Input and output of one stage, with R = 1 (class-agnostic) or M regressors."""

    boxes: Tensor  # (B, K, 4): the input b^t
    logits: Tensor  # (B, K, M + 1), background first
    deltas: Tensor  # (B, K, R, 4), normalised by the stage's statistics


class TrainedOn(NamedTuple):
    """The samples that one stage is trained on in a step, S boxes per image."""

    output: StageOutput  # for the sampled boxes (B, S, 4)
    labels: Tensor  # (B, S) int64, at the stage's u: the class, or 0
    matched: Tensor  # (B, S) int64: index of the matched object, out of G
    truth: Tensor  # (B, S, 4): that object's box
    iou: Tensor  # (B, S): IoU with it
    valid: Tensor  # (B, S) bool; invalid slots have empty boxes
    from_truth: Tensor  # (B, S) bool: appended ground truth, or boxes refined from it by earlier stages


class Detections(NamedTuple):
    """The detections of a batch, sorted by score."""

    boxes: Tensor  # (B, D, 4)
    scores: Tensor  # (B, D)
    labels: Tensor  # (B, D) int64, 1..M
    valid: Tensor  # (B, D) bool
    extras: Extras = _NONE
