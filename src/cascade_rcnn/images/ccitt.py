"""Load TIFF images compressed as faxes (CCITT T.4 and T.6), such as scanned documents.

If their data is damaged, libtiff may leave the rest of the image undefined without an error: it contains whatever the
memory contained.
"""

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import PIL.Image

_COMPRESSIONS = ("group3", "group4", "tiff_ccitt", "tiff_raw_16")  # Pillow's names
_PERTURB = -6  # M_PERTURB of glibc's mallopt: fill allocated memory with the complement of a byte


def is_fax(image: PIL.Image.Image) -> bool:
    """Return whether an image is compressed as a fax and has not been loaded yet."""
    unread = getattr(image, "tile", None) and getattr(image, "fp", None)
    return image.format == "TIFF" and image.info.get("compression") in _COMPRESSIONS and bool(unread)


def load(image: PIL.Image.Image) -> None:
    """Load the pixels. Raises OSError if some are undefined, which is only noticed where the C library is glibc."""
    fill = _filling()
    if fill is None:
        image.load()
        return
    image.fp.seek(0)  # type: ignore[attr-defined]
    again = type(image)(image.fp, "")  # type: ignore[attr-defined, call-arg]
    again.seek(image.tell())
    with _filled(fill, 0x55):
        image.load()
    with _filled(fill, 0xAA):
        again.load()
    if image.tobytes() != again.tobytes():
        raise OSError("its fax-compressed data is damaged")


def _filling() -> Callable[[int, int], int] | None:
    try:
        return ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return None


@contextmanager
def _filled(fill: Callable[[int, int], int], byte: int) -> Iterator[None]:
    """Fill memory with a byte when it is allocated."""
    fill(_PERTURB, byte)
    try:
        yield
    finally:
        fill(_PERTURB, 0)
