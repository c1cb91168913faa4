"""Sizes of images that annotation files do not give, from the headers of the images."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cascade_rcnn.data.check import BadImages, leave_out
from cascade_rcnn.data.headers import read_headers
from cascade_rcnn.errors import UserError


class Sizes(NamedTuple):
    """Of N images."""

    sizes: np.ndarray  # (N, 2) int32: height and width
    kept: np.ndarray  # (N,) bool: all, but for those that had to be read, could not and may be skipped
    notes: list[str]


def fill_sizes(source: str, paths: Sequence[Path], sizes: np.ndarray, bad_images: BadImages) -> Sizes:
    """Read the headers of those images whose size (N, 2) is not known: 0 in either.

    Raises one UserError about all images that cannot be read, unless they may be skipped.
    """
    unknown = np.flatnonzero((sizes < 1).any(axis=1)).tolist()
    filled, problems = np.array(sizes, np.int32), {}
    for i, header in zip(unknown, read_headers([paths[i] for i in unknown], None), strict=True):
        if isinstance(header, UserError):
            problems[i] = str(header)
        else:
            filled[i] = header.size
    if not problems:
        return Sizes(filled, np.ones(len(paths), np.bool_), [])
    kept, note = leave_out(f"{source} gives no sizes, so images are read", paths, problems, bad_images)
    return Sizes(filled, kept, [note])
