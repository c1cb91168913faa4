"""Scan image files in one pass, for their properties and fingerprints. Images are not kept in memory."""

import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL.Image

from cascade_rcnn.data.headers import read_header
from cascade_rcnn.data.names import exists
from cascade_rcnn.errors import UserError
from cascade_rcnn.images.decoding import open_image
from cascade_rcnn.images.orientation import orientation
from cascade_rcnn.images.pixels import from_pil, peak

SIDE = 24  # side of a fingerprint in pixels
_DRAFT = 4 * SIDE  # minimum side in pixels to which JPEG files are reduced while decoding
_LARGE = 25e6  # pixels; larger images are decoded one at a time
_THREADS = min(8, os.cpu_count() or 1)
_BATCH = 256
_one_large_at_a_time = threading.Lock()


class Seen(NamedTuple):
    """Properties and fingerprints of an image file."""

    size: tuple[int, int] = (0, 0)  # height and width of the upright image; 0 if it cannot be read
    format: str = ""  # Pillow's name of the format, detected from the content
    orientation: int = 1  # EXIF: 1 is upright, 2 to 8 are rotated or mirrored
    digest: bytes = b""  # SHA-256 of the file
    difference: int = 0  # 64-bit difference hash (dHash)
    shades: np.ndarray = np.zeros(SIDE * SIDE, np.uint8)  # the image as SIDE x SIDE grey values
    peak: int | None = None  # the largest value of 16-bit greyscale
    problem: str = ""  # error message if it cannot be read
    missing: bool = False


def scan(paths: Sequence[Path], max_megapixels: float, advance: Callable[[int], None]) -> Iterator[Seen]:
    """Scan files in parallel and yield the results in order; `advance` is called with the number of files done."""
    with ThreadPoolExecutor(_THREADS) as pool:
        for start in range(0, len(paths), _BATCH):
            some = paths[start : start + _BATCH]
            yield from pool.map(lambda path: see(path, max_megapixels), some)
            advance(len(some))


def see(path: Path, max_megapixels: float) -> Seen:
    """Scan one file. Errors are returned in `problem`."""
    try:
        header = read_header(path, max_megapixels)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").digest()
        with open_image(path, max_megapixels) as image:
            kind, turn = image.format or "", orientation(image)
            image.draft("L", (_DRAFT, _DRAFT))
            grey, highest = _grey(image), peak(image)
    except UserError as error:
        return Seen(problem=str(error), missing=not exists(path))
    except OSError as error:
        return Seen(problem=f"{path}: cannot be read ({error.strerror or error}); check it", missing=not exists(path))
    return Seen(header.size, kind, turn, digest, difference_hash(grey), shades(grey), highest)


def _grey(image: PIL.Image.Image) -> PIL.Image.Image:
    if image.width * image.height <= _LARGE:
        return PIL.Image.fromarray(from_pil(image)).convert("L")
    with _one_large_at_a_time:
        return PIL.Image.fromarray(from_pil(image)).convert("L")


def difference_hash(grey: PIL.Image.Image) -> int:
    """Compute a 64-bit hash: whether each of 8 x 8 cells is brighter than its left neighbour."""
    cells = np.asarray(grey.resize((9, 8), PIL.Image.Resampling.BOX), np.int16)
    return int.from_bytes(np.packbits(cells[:, 1:] > cells[:, :-1]).tobytes(), "big")


def shades(grey: PIL.Image.Image) -> np.ndarray:
    """Compute the mean brightness of SIDE x SIDE cells, (SIDE * SIDE,) uint8."""
    return np.asarray(grey.resize((SIDE, SIDE), PIL.Image.Resampling.BOX)).ravel()
