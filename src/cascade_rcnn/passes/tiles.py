"""Detection in tiles of large images, with the detections of all tiles joined (`join_tiles.py`)."""

import math

import torch
from torch import Tensor

from cascade_rcnn.arguments import check_number
from cascade_rcnn.config import InferenceConfig
from cascade_rcnn.passes.interface import Detect, Found
from cascade_rcnn.passes.join_tiles import join_tiles

Window = tuple[int, int, int, int]  # x1, y1, x2, y2 of a tile in the image

LEAST = 32  # pixels
_MOST_OVERLAP = 0.9


class Tiled:
    """A detector that processes square tiles of `side` pixels, overlapping by at least the fraction `overlap`.

    All tiles of an image have the same size, so that the model resizes them alike; they overlap by more if necessary.
    An image that fits into one tile is not divided. `config` is that of the detector. Raises UserError for a side or
    overlap out of range.
    """

    def __init__(self, detect: Detect, side: int, overlap: float, config: InferenceConfig) -> None:
        check_number("tiles", side, LEAST, whole=True)
        check_number("overlap", overlap, 0, _MOST_OVERLAP)
        self.detect, self.side, self.overlap, self.config = detect, side, overlap, config

    def __call__(self, images: list[Tensor], scale: float = 1.0) -> list[Found]:
        """Detect in the tiles of all images, in batches of as many tiles as there are images."""
        places = [windows(image.shape[-2], image.shape[-1], self.side, self.overlap) for image in images]
        work = [(k, window) for k, there in enumerate(places) for window in there]
        parts: list[list[Found]] = [[] for _ in images]
        for start in range(0, len(work), len(images)):
            batch = work[start : start + len(images)]
            tiles = [images[k][:, y1:y2, x1:x2] for k, (x1, y1, x2, y2) in batch]
            for (k, _), found in zip(batch, self.detect(tiles, scale), strict=True):
                parts[k].append(found)
        return [
            join_tiles(found, torch.tensor(there, device="cpu"), (image.shape[-2], image.shape[-1]), self.config)
            for found, there, image in zip(parts, places, images, strict=True)
        ]


def windows(height: int, width: int, side: int, overlap: float) -> list[Window]:
    """Return the tiles of an image, row by row from the top left, as XYXY in pixels."""
    return [
        (x, y, min(x + side, width), min(y + side, height))
        for y in _starts(height, side, overlap)
        for x in _starts(width, side, overlap)
    ]


def _starts(length: int, side: int, overlap: float) -> list[int]:
    """Return the starts of the fewest tiles that cover a length, evenly spread."""
    if length <= side:
        return [0]
    step = max(1, math.floor(side * (1 - overlap)))
    number = 1 + math.ceil((length - side) / step)
    return [(length - side) * k // (number - 1) for k in range(number)]
