"""Open and decode image files; does not import torch."""

import struct
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import chain
from pathlib import Path
from typing import IO, Any

import numpy as np
import PIL.ExifTags
import PIL.Image

from cascade_rcnn.errors import UserError
from cascade_rcnn.images import jpeg2000
from cascade_rcnn.images.pixels import from_pil, is_dark
from cascade_rcnn.text_files import LFS, check_regular, is_lfs_pointer

# Supported formats, detected by content, and their file suffixes. Only those that Pillow decodes itself: others start
# external programs, such as Ghostscript for EPS.
FORMATS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png", ".apng"),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "GIF": (".gif",),
    "AVIF": (".avif",),
    "JPEG2000": (".jp2", ".j2k", ".jpf", ".jpx", ".jpc", ".j2c"),
}
EXTENSIONS = frozenset(chain.from_iterable(FORMATS.values()))
# Image formats of cameras and tools that are not supported; such files are skipped with a note.
UNSUPPORTED = frozenset(
    f".{kind}"
    for kind in (
        *("arw", "cr2", "cr3", "dcm", "dds", "dng", "eps", "exr", "hdr", "heic", "heif", "hif", "ico", "jxl", "jxr"),
        *("nef", "orf", "pcx", "pef", "pfm", "psd", "raf", "raw", "rw2", "srw", "svg", "svs", "tga", "xcf"),
    )
)

ONLINE = "images are not read from URLs; download it, and give the file"
MAX_MEGAPIXELS = 179  # default limit, the same as Pillow's
_SMALLER, _TRANSPARENCY = 0b001, 0b100  # bits of a TIFF page's type
_COPIES = 64  # pages of a TIFF that may precede a second image; without a limit, a small file could take hours
_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc")  # as phones write it, also as .jpg


@contextmanager
def open_image(
    source: str | Path | IO[bytes], max_megapixels: float | None = MAX_MEGAPIXELS
) -> Iterator[PIL.Image.Image]:
    """Open an image (a path or an open file) of one of FORMATS, whatever its name; only its header is read.

    Raises UserError naming the file if it is missing, not an image, or exceeds `max_megapixels` (None: no limit), and
    for any error inside the block.
    """
    path = source if isinstance(source, str | Path) else getattr(source, "name", "the bytes given")
    try:
        with _file(source) as file:
            image = _identify(file)
            if max_megapixels is not None and image.width * image.height > max_megapixels * 1e6:
                raise UserError(
                    f"{path}: this image has {image.width} x {image.height} pixels, more than {max_megapixels:g} "
                    "megapixels; cut it into tiles (`predict --tiles` does), or raise max_megapixels, if there is one"
                )
            if image.format == "JPEG2000" and not jpeg2000.is_whole(file):
                raise OSError("it is cut off")
            yield image
    except UserError as error:
        raise error if str(error).startswith(f"{path}: ") else UserError(f"{path}: {error}") from None
    except FileNotFoundError:
        reason = ONLINE if "://" in str(path) else "no such image; check the path and the images folder"
        raise UserError(f"{path}: {reason}") from None
    except Exception as error:  # noqa: BLE001  decoders may raise anything on malformed data
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path}: cannot open this image ({reason}); replace or remove it") from None


def _file(source: str | Path | IO[bytes]) -> AbstractContextManager[IO[bytes]]:
    if not isinstance(source, str | Path):
        return nullcontext(source)
    check_regular(source)
    return Path(source).open("rb")


def _identify(file: IO[bytes]) -> PIL.Image.Image:
    """Like PIL.Image.open(formats=FORMATS), whose pixel limit is global rather than per call."""
    PIL.Image.init()
    prefix, damaged = file.read(16), ""
    if not prefix:
        raise OSError("the file is empty")
    for name in FORMATS:
        factory, accept = PIL.Image.OPEN.get(name, (None, None))
        if factory is None or (accept is not None and len(prefix) > 1 and accept(prefix) is not True):
            continue
        file.seek(0)
        try:
            return factory(file, "")
        except (SyntaxError, IndexError, TypeError, struct.error) as error:  # not of this format after all
            damaged = damaged or f"a {name} file that is damaged or of a rare kind: {error}"
    if is_lfs_pointer(prefix):
        raise UserError(LFS)
    if prefix[4:8] == b"ftyp" and prefix[8:12] in _HEIC:
        raise UserError("this is a HEIC image, whatever its name; convert it to JPEG or PNG")
    raise OSError(damaged or f"it is none of {', '.join(FORMATS)}")


def file_holds_more(path: Path) -> bool:
    """Return whether an image file has further pages or frames, which are not read; False if it cannot be opened."""
    return _is_so(path, holds_more)


def file_is_dark(path: Path) -> bool:
    """Return whether a file has 16-bit greyscale that is read as nearly black; False if it cannot be opened."""
    return _is_so(path, is_dark)


def _is_so(path: Path, judge: Callable[[PIL.Image.Image], bool]) -> bool:
    try:
        with open_image(path, None) as image:
            return judge(image)
    except UserError:
        return False


def holds_more(image: Any) -> bool:
    """Return whether an open image, not decoded yet, has further pages or frames, which are not read.

    The second picture of an MPO, a preview or the view of the other eye, does not count, nor do the smaller copies and
    transparency masks of a TIFF.
    """
    try:
        if image.format == "MPO" or not getattr(image, "is_animated", False):
            return False
        return image.format != "TIFF" or any(_is_page(image, k) for k in range(1, _COPIES))
    except Exception:  # noqa: BLE001  damaged after the first page, or no further one
        return False
    finally:
        if image.format == "TIFF":
            image.seek(0)


def _is_page(image: Any, number: int) -> bool:
    image.seek(number)
    return not image.tag_v2.get(PIL.ExifTags.Base.NewSubfileType, 0) & (_SMALLER | _TRANSPARENCY)


def decode_image(
    path: str | Path | IO[bytes], max_megapixels: float | None = MAX_MEGAPIXELS, *, warn: bool = False
) -> np.ndarray:
    """Decode a path or an open file to uint8 RGB (H, W, 3), with the EXIF orientation applied, like `from_pil`.

    Raises UserError naming the file if it is missing, cannot be decoded, or exceeds `max_megapixels` (None: no limit).
    """
    with open_image(path, max_megapixels) as image:
        return from_pil(image, warn=warn)
