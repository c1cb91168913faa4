"""Equations 1 and 4: the localization and classification risks, over dense batches with a mask.

Each is the sum over valid rows, divided by `normalizer`; a fully masked batch gives 0 with zero gradients.
"""

from cascade_rcnn.losses.box_regression import IoULoss, SmoothL1Loss, localization
from cascade_rcnn.losses.classification import classification, objectness

__all__ = ["IoULoss", "SmoothL1Loss", "classification", "localization", "objectness"]
