"""Image sizes that annotation files lack, read from the images' headers."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cascade_rcnn.data.check import BadImages, leave_out
from cascade_rcnn.data.headers import read_headers
from cascade_rcnn.errors import UserError


class Sizes(NamedTuple):
    """Sizes of N images."""

    sizes: np.ndarray  # (N, 2) int32: height and width
    kept: np.ndarray  # (N,) bool: False for images skipped because their header cannot be read
    notes: list[str]


def fill_sizes(source: str, path: Callable[[int], Path], sizes: np.ndarray, bad_images: BadImages) -> Sizes:
    """Complete `sizes` (N, 2), height and width, from the headers of images whose size contains a 0.

    `path` returns the path of image i. Images that cannot be read are skipped or kept with a size of 0 x 0, depending
    on `bad_images`; with "stop", raises one UserError that lists them.
    """
    unknown = np.flatnonzero((sizes < 1).any(axis=1)).tolist()
    filled, problems = np.array(sizes, np.int32), {}
    for i, header in zip(unknown, read_headers([path(i) for i in unknown], None), strict=True):
        if isinstance(header, UserError):
            problems[i] = str(header)
        else:
            filled[i] = header.size
    if not problems:
        return Sizes(filled, np.ones(len(sizes), np.bool_), [])
    kept, note = leave_out(f"{source} lacks image sizes, so images are read", path, len(sizes), problems, bad_images)
    return Sizes(filled, kept, [note])
