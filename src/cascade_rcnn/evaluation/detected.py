"""Detections of a model in a dataset, with or without masks."""

from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np

from cascade_rcnn.rle import RLE

COLUMNS = 7  # image id, x, y, width, height, score, category id


class Detected(NamedTuple):
    """N detections: boxes, and masks if the model has any."""

    rows: np.ndarray  # (N, 7) float64: image id, x, y, width, height, score, category id
    masks: list[RLE] | None = None  # N

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """Join parts, of which all or none have masks; empty parts may have either."""
        rows = np.concatenate([np.zeros((0, COLUMNS)), *(part.rows for part in parts)])
        with_masks = [part.masks for part in parts if part.masks is not None]
        return cls(rows, [mask for masks in with_masks for mask in masks] if with_masks else None)
