"""Headers of image files, read in parallel and without decoding."""

import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, NamedTuple

import PIL.Image
import PIL.TiffImagePlugin

from cascade_rcnn.errors import UserError
from cascade_rcnn.images.decoding import MAX_MEGAPIXELS, holds_more, open_image
from cascade_rcnn.images.orientation import SIDEWAYS, orientation
from cascade_rcnn.images.pixels import from_pil

_THREADS = 16  # most of the time is spent waiting, above all on network file systems
_TAIL = 64  # bytes; end-of-image markers may be followed by a little padding
_one_at_a_time = threading.Lock()  # decoding takes memory


class Header(NamedTuple):
    """The header of an image file."""

    size: tuple[int, int]  # height and width of the upright image
    mode: str  # Pillow's
    more: bool = False  # whether the file has further pages or frames


def read_headers(
    paths: Sequence[Path], max_megapixels: float | None = MAX_MEGAPIXELS, *, decode: bool = False
) -> list[Header | UserError]:
    """Return the header of each file, or the error that reading the image would raise.

    Without `decode`, that is only what the header, the file's end and its length reveal.
    """

    def read(path: Path) -> Header | UserError:
        try:
            return read_header(path, max_megapixels, decode=decode)
        except UserError as error:
            return error

    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(read, paths))


def read_header(path: Path, max_megapixels: float | None = MAX_MEGAPIXELS, *, decode: bool = False) -> Header:
    """Read the header of an image file; if the file looks incomplete, or with `decode`, decode it to be sure.

    Raises UserError naming the file if it is missing, not an image, truncated, or exceeds `max_megapixels` (None: no
    limit).
    """
    with open_image(path, max_megapixels) as image:
        complete = _is_complete(image, image.fp)  # type: ignore[attr-defined]
        # Pillow has already swapped the size of a TIFF.
        turned = image.format != "TIFF" and orientation(image) >= SIDEWAYS
        size = (image.width, image.height) if turned else (image.height, image.width)
        header = Header(size, image.mode, holds_more(image))
        # Values with more than 8 bits may have an unsupported range.
        if decode or image.mode in ("I", "F") or not complete:
            with _one_at_a_time:
                from_pil(image)
        return header


def _tail(file: IO[bytes], number: int) -> bytes:
    file.seek(max(0, file.seek(0, os.SEEK_END) - number))
    return file.read()


def _is_complete(image: PIL.Image.Image, file: IO[bytes]) -> bool:
    """Return whether the file is certainly complete; False if only decoding can tell."""
    length = file.seek(0, os.SEEK_END)
    if isinstance(image, PIL.TiffImagePlugin.TiffImageFile):
        return _parts_end(image.tag_v2) <= length
    tail = _tail(file, _TAIL)
    match image.format:
        case "JPEG" | "MPO":
            return b"\xff\xd9" in tail
        case "JPEG2000":
            return True  # otherwise, opening would have failed
        case "PNG":
            return b"IEND" in tail
        case "GIF":
            return tail.rstrip(b"\0").endswith(b";")
        case "WEBP":
            return _number_at(file, 4) + 8 <= length
        case "BMP":
            return 0 < _number_at(file, 2) <= length
        case _:
            return False


def _parts_end(tags: PIL.TiffImagePlugin.ImageFileDirectory_v2) -> float:
    """Return the end of a TIFF's last strip or tile, according to its tags."""
    for offsets, counts in ((273, 279), (324, 325)):
        if offsets in tags and counts in tags:
            return max(a + b for a, b in zip(tags[offsets], tags[counts], strict=False))
    return float("inf")


def _number_at(file: IO[bytes], place: int) -> int:
    file.seek(place)
    return int.from_bytes(file.read(4), "little")
