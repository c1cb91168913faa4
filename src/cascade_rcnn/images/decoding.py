"""Decode image files and convert PIL images and arrays to RGB arrays; does not import torch."""

import os
import struct
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import chain
from pathlib import Path
from typing import IO, Any

import numpy as np
import PIL.ExifTags
import PIL.Image
import PIL.ImageOps

from cascade_rcnn.errors import UserError
from cascade_rcnn.images import ccitt, jpeg2000
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
NARROW = 2**13  # values below which 16-bit images use less than an eighth of their range
MAX_MEGAPIXELS = 179  # default limit, the same as Pillow's
SIDEWAYS = 5  # orientations from 5 on swap width and height
_BEYOND = 0.5  # floating point may overshoot 0..1, with bicubic interpolation by 0.45; other ranges go further
_SMALLER, _TRANSPARENCY = 0b001, 0b100  # bits of a TIFF page's type
_COPIES = 64  # pages of a TIFF that may precede a second image; without a limit, a small file could take hours
_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc")  # as phones write it, also as .jpg
_PNG_TAIL = 2**16  # bytes, searched for EXIF and XMP data after the pixels
_STRIP = 2**22  # pixels converted at once


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
                    "megapixels; cut it into tiles (`predict --tiles` does), or raise the limit (max-megapixels)"
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
    try:
        with open_image(path, None) as image:
            return holds_more(image)
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


def orientation(image: PIL.Image.Image) -> int:
    """Return the orientation of an open image by its EXIF or XMP data: 1 is upright, 2 to 8 are mirrored or rotated.

    Pixels are only decoded if such data follows them in the file, which is rare and possible in PNG.
    """
    if image.format == "PNG" and "exif" not in image.info and _data_follows(image):
        image.load()
    return _orientation(image)


def _data_follows(image: Any) -> bool:
    """Return whether the end of a PNG file, of which only the header was read, has EXIF or XMP data."""
    place = image.fp.tell()
    image.fp.seek(max(0, image.fp.seek(0, os.SEEK_END) - _PNG_TAIL))
    tail = image.fp.read()
    image.fp.seek(place)
    return any(mark in tail for mark in (b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp"))


def _orientation(image: PIL.Image.Image) -> int:
    # Not the method of PNG images, which always decodes the pixels.
    found = PIL.Image.Image.getexif(image).get(PIL.ExifTags.Base.Orientation, 1)
    return found if found in range(1, 9) else 1


def decode_image(
    path: str | Path | IO[bytes], max_megapixels: float | None = MAX_MEGAPIXELS, *, warn: bool = False
) -> np.ndarray:
    """Decode a path or an open file to uint8 RGB (H, W, 3), with the EXIF orientation applied, like `from_pil`.

    Raises UserError naming the file if it is missing, cannot be decoded, or exceeds `max_megapixels` (None: no limit).
    """
    with open_image(path, max_megapixels) as image:
        return from_pil(image, warn=warn)


def from_pil(image: PIL.Image.Image, *, upright: bool = True, warn: bool = False) -> np.ndarray:
    """Convert a PIL image to uint8 RGB (H, W, 3) without transparency, `upright` with its EXIF orientation applied.

    16-bit greyscale 0..65535 is scaled to 0..255 (the high byte, as Pillow does for 16-bit colour), with `warn` with a
    warning if it is nearly black; floating point is interpreted as 0..1. Raises UserError for values in an unknown
    range.
    """
    if 0 in image.size:
        raise UserError(f"an image has size {image.size}; give one that is not empty")
    if ccitt.is_fax(image):
        ccitt.load(image)
    else:
        image.load()  # for TIFF, this applies the orientation
    kind = image.format
    if upright and _orientation(image) != 1:
        image = PIL.ImageOps.exif_transpose(image)
    if image.mode[0] in "IF":
        values = np.asarray(image)
        if warn and _has_16_bits(image.mode, kind):
            warn_of_narrow_range(int(values.max()))
        return from_array(_to_bytes(values, image.mode, kind))
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # converting straight to RGB makes Pillow warn about transparency
    if image.mode == "La":  # premultiplied, which Pillow converts to nothing else
        image = image.convert("LA")
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    rows = max(1, _STRIP // max(1, image.width))
    for top in range(0, image.height, rows):  # converting the whole image at once would hold three copies of it
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        pixels[top : top + rows] = np.asarray(strip if strip.mode == "RGB" else strip.convert("RGB"))
    return pixels


def _to_bytes(values: np.ndarray, mode: str, kind: str | None) -> np.ndarray:
    if _has_16_bits(mode, kind):
        return (values >> 8).astype(np.uint8)
    low, high = float(values.min()), float(values.max())
    if mode == "F" and low >= 0 and high <= 1:
        return (values * 255 + 0.5).astype(np.uint8)
    raise UserError(
        f"an image has mode {mode} with values from {low:g} to {high:g}; with more than 8 bits per pixel, only "
        "16-bit integers (0..65535) and floating point 0..1 are supported: convert it to one of these"
    )


def _has_16_bits(mode: str, kind: str | None) -> bool:
    return mode.startswith("I;16") or (mode == "I" and kind in ("PNG", "PPM"))  # which scale to 16 bits


def file_is_dark(path: Path) -> bool:
    """Return whether a file has 16-bit greyscale that is read as nearly black; False if it cannot be opened."""
    try:
        with open_image(path, None) as image:
            return is_dark(image)
    except UserError:
        return False


def is_dark(image: PIL.Image.Image) -> bool:
    """Return whether an image in 16-bit greyscale is read as nearly black."""
    return 0 < (peak(image) or 0) < NARROW


def peak(image: PIL.Image.Image) -> int | None:
    """Return the largest value of an image in 16-bit greyscale, None for any other."""
    return int(np.asarray(image).max()) if _has_16_bits(image.mode, image.format) else None


def from_array(image: np.ndarray) -> np.ndarray:
    """Convert an array (H, W) or (H, W, 1 | 3 | 4) to RGB (H, W, 3), uint8 0..255 or float32 0..1, without alpha.

    uint8 is kept, uint16 is interpreted as 0..65535, floating point as 0..1. Raises UserError for anything else.
    """
    array = image[..., None] if image.ndim == 2 else image
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or 0 in array.shape:
        raise UserError(f"an image array has shape {image.shape}; give (height, width, 3) in RGB order, not empty")
    array = np.repeat(array, 3, axis=2) if array.shape[2] == 1 else array[..., :3]
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.uint16:
        warn_of_narrow_range(int(array.max()))
        return array.astype(np.float32) / 65535
    if not np.issubdtype(array.dtype, np.floating):
        raise UserError(f"an image array has dtype {array.dtype}; give uint8, uint16, or floating point 0..1")
    check_range(f"an image array of {array.dtype}", float(array.min()), float(array.max()))
    return array.astype(np.float32, copy=False)


def warn_of_narrow_range(peak: int) -> None:
    """Warn if the largest value of a uint16 image is that of 13 bits or less."""
    if 0 < peak < NARROW:
        warnings.warn(
            "an image of 16 bits uses less than an eighth of the range 0..65535, and is read as nearly black; if it "
            "was recorded with 8, 10 or 12 bits, multiply it by 256, 64 or 16",
            stacklevel=2,
        )


def check_range(image: str, low: float, high: float) -> None:
    """Raise UserError unless floating-point values `low` to `high` are 0..1, up to an overshoot; NaN are not."""
    if not (low >= -_BEYOND and high <= 1 + _BEYOND):
        raise UserError(
            f"{image} has values from {low:g} to {high:g}; give 0..1, or uint8 (the model normalises images itself)"
        )
