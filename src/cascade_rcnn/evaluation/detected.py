"""Detections of a model on a dataset, with or without masks."""

from collections.abc import Sequence
from itertools import compress
from typing import NamedTuple, Self

import numpy as np

from cascade_rcnn.rle import RLE

COLUMNS = 7  # image id, x, y, width, height, score, category id


class Detected(NamedTuple):
    """N detections: boxes, and masks if the model has any."""

    rows: np.ndarray  # (N, 7) float64: image id, x, y, width, height, score, category id
    masks: list[RLE] | None = None  # one per detection

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """Concatenate parts; all or none of them must have masks, unless they are empty."""
        rows = np.concatenate([np.zeros((0, COLUMNS)), *(part.rows for part in parts)])
        with_masks = [part.masks for part in parts if part.masks is not None]
        return cls(rows, [mask for masks in with_masks for mask in masks] if with_masks else None)

    def in_images(self, image_ids: np.ndarray) -> Self:
        """Keep the detections in these images."""
        kept = np.isin(self.rows[:, 0], image_ids)
        return type(self)(self.rows[kept], None if self.masks is None else list(compress(self.masks, kept)))
