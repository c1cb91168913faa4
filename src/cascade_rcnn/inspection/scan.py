"""One pass over image files: what each one is, and a fingerprint of what it shows. No image is kept."""

import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL.ExifTags
import PIL.Image

from cascade_rcnn.data.headers import read_header
from cascade_rcnn.decoding import from_pil, open_image
from cascade_rcnn.errors import UserError

SIDE = 24  # pixels of a fingerprint's side
_DRAFT = 4 * SIDE  # JPEG files are decoded at a fraction of their size, but not below this
_LARGE = 25e6  # pixels; larger images are decoded one at a time
_THREADS = min(8, os.cpu_count() or 1)
_BATCH = 256
_one_large_at_a_time = threading.Lock()


class Seen(NamedTuple):
    """What is known about an image file."""

    size: tuple[int, int] = (0, 0)  # height and width of the upright image; 0 if it cannot be read
    format: str = ""  # Pillow's name, by content
    orientation: int = 1  # EXIF: 1 is upright, 2 to 8 are turned or mirrored
    digest: bytes = b""  # of the file
    difference: int = 0  # 64 bits: where brightness rises from left to right (dHash)
    shades: np.ndarray = np.zeros(SIDE * SIDE, np.uint8)  # the image in SIDE x SIDE shades of grey
    problem: str = ""  # the line of the error that reading it raises
    missing: bool = False


def scan(paths: Sequence[Path], max_megapixels: float, advance: Callable[[int], None]) -> Iterator[Seen]:
    """Yield what is seen in each file, in order, read in parallel; `advance` is called with the progress."""
    with ThreadPoolExecutor(_THREADS) as pool:
        for start in range(0, len(paths), _BATCH):
            some = paths[start : start + _BATCH]
            yield from pool.map(lambda path: see(path, max_megapixels), some)
            advance(len(some))


def see(path: Path, max_megapixels: float) -> Seen:
    """Look at a file."""
    try:
        header = read_header(path, max_megapixels)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").digest()
        with open_image(path, max_megapixels) as image:
            kind, orientation = image.format or "", image.getexif().get(PIL.ExifTags.Base.Orientation, 1)
            image.draft("L", (_DRAFT, _DRAFT))
            grey = _grey(image)
    except UserError as error:
        return Seen(problem=str(error), missing=not path.exists())
    except OSError as error:
        return Seen(problem=f"{path}: cannot be read ({error.strerror or error}); check it", missing=not path.exists())
    return Seen(header.size, kind, int(orientation), digest, difference_hash(grey), shades(grey))


def _grey(image: PIL.Image.Image) -> PIL.Image.Image:
    if image.width * image.height <= _LARGE:
        return PIL.Image.fromarray(from_pil(image)).convert("L")
    with _one_large_at_a_time:
        return PIL.Image.fromarray(from_pil(image)).convert("L")


def difference_hash(grey: PIL.Image.Image) -> int:
    """Return 64 bits: whether each of 8 x 8 cells is brighter than the one on its left."""
    cells = np.asarray(grey.resize((9, 8), PIL.Image.Resampling.BOX), np.int16)
    return int.from_bytes(np.packbits(cells[:, 1:] > cells[:, :-1]).tobytes(), "big")


def shades(grey: PIL.Image.Image) -> np.ndarray:
    """Return the mean brightness of SIDE x SIDE cells, (SIDE * SIDE,) uint8."""
    return np.asarray(grey.resize((SIDE, SIDE), PIL.Image.Resampling.BOX)).ravel()
