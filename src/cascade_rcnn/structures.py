"""Dense batches. Inside the model there are no lists: every image of a batch has the same number of slots,
and `valid` says which of them are real.

B images · K proposals · G ground-truth boxes · D detections · M classes (label 0 is background, 1..M are classes)
Boxes are absolute XYXY pixels of the network's input, float32.
"""

from typing import NamedTuple

import torch
from torch import Tensor

Extras = dict[str, Tensor]  # what RoI tasks know more of each slot: masks, keypoints; (B, slots, ...) by name
_NONE: Extras = {}


class ImageBatch(NamedTuple):
    """A batch of resized, normalised, padded images."""

    pixels: Tensor  # (B, 3, H, W), channels_last
    sizes: Tensor  # (B, 2) float: height and width of each image inside the padding
    original_sizes: Tensor  # (B, 2) float: height and width before resizing


class Targets(NamedTuple):
    """Ground truth of a batch. G is at least 1: an image without objects has slots that are not valid."""

    boxes: Tensor  # (B, G, 4)
    labels: Tensor  # (B, G) int64, 1..M
    valid: Tensor  # (B, G) bool: an object to find
    ignore: Tensor | None  # (B, G) bool: a crowd region (then not valid); None where the batch has none
    extras: Extras = _NONE


class Proposals(NamedTuple):
    """Hypotheses for the objects of a batch: the input of one cascade stage."""

    boxes: Tensor  # (B, K, 4)
    valid: Tensor  # (B, K) bool

    def with_truth(self, targets: Targets) -> "Proposals":
        """These and after them the ground truth, (B, K + G): what training adds, and Figure 5 (b) at inference."""
        boxes = torch.cat([self.boxes, targets.boxes], dim=1)
        return Proposals(boxes, torch.cat([self.valid, targets.valid], dim=1))


class StageOutput(NamedTuple):
    """What one stage saw and said. R regressors: 1 (class-agnostic) or M."""

    boxes: Tensor  # (B, K, 4): its input b^t
    logits: Tensor  # (B, K, M + 1), background first
    deltas: Tensor  # (B, K, R, 4), normalised by the stage's statistics


class TrainedOn(NamedTuple):
    """What one stage is trained on in a step, S sampled boxes an image."""

    output: StageOutput  # of the sampled boxes (B, S, 4)
    labels: Tensor  # (B, S) int64, by the stage's u: the class, or 0
    matched: Tensor  # (B, S) int64: which of the G objects each is compared with
    truth: Tensor  # (B, S, 4): that object's box
    iou: Tensor  # (B, S): with it
    valid: Tensor  # (B, S) bool; boxes of slots that are not are empty
    from_truth: Tensor  # (B, S) bool: appended ground truth, or what earlier stages have made of it


class Detections(NamedTuple):
    """What the detector found, best first."""

    boxes: Tensor  # (B, D, 4)
    scores: Tensor  # (B, D)
    labels: Tensor  # (B, D) int64, 1..M
    valid: Tensor  # (B, D) bool
    extras: Extras = _NONE
