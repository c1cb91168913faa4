"""Dense batches. Inside the model there are no lists: every image of a batch has the same number of slots,
and `valid` says which of them are real.

B images · K proposals · G ground-truth boxes · D detections · M classes (label 0 is background, 1..M are classes)
Boxes are absolute XYXY pixels of the network's input, float32.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Images(NamedTuple):
    """A batch of resized, normalised, padded images."""

    pixels: Tensor  # (B, 3, H, W)
    sizes: Tensor  # (B, 2) float: height and width of each image inside the padding
    original_sizes: Tensor  # (B, 2) float: height and width before resizing


class Targets(NamedTuple):
    """Ground truth of a batch. G is at least 1: an image without objects has slots that are not valid."""

    boxes: Tensor  # (B, G, 4)
    labels: Tensor  # (B, G) int64, 1..M
    valid: Tensor  # (B, G) bool: an object to find
    ignore: Tensor | None  # (B, G) bool: a crowd region (then not valid); None where the batch has none


class Proposals(NamedTuple):
    """Hypotheses for the objects of a batch: the input of one cascade stage."""

    boxes: Tensor  # (B, K, 4)
    valid: Tensor  # (B, K) bool

    def with_truth(self, targets: Targets) -> "Proposals":
        """These and after them the ground truth, (B, K + G): what training adds, and Figure 5 (b) at inference."""
        boxes = torch.cat([self.boxes, targets.boxes], dim=1)
        return Proposals(boxes, torch.cat([self.valid, targets.valid], dim=1))


class Detections(NamedTuple):
    """What the detector found, best first."""

    boxes: Tensor  # (B, D, 4)
    scores: Tensor  # (B, D)
    labels: Tensor  # (B, D) int64, 1..M
    valid: Tensor  # (B, D) bool
