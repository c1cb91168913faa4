"""Equations 1 and 4: the localization and classification losses on masked dense batches.

Each is summed over valid rows and divided by `normalizer`; a fully masked batch gives 0 with zero gradients.
"""

from cascade_rcnn.losses.box_regression import IoULoss, SmoothL1Loss, localization
from cascade_rcnn.losses.classification import classification, objectness

__all__ = ["IoULoss", "SmoothL1Loss", "classification", "localization", "objectness"]
