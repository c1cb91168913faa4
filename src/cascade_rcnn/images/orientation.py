"""How an image is turned, by its EXIF or XMP data; does not import torch."""

import os
from typing import Any

import PIL.ExifTags
import PIL.Image

SIDEWAYS = 5  # orientations from 5 on swap width and height
_PNG_TAIL = 2**16  # bytes, searched for EXIF and XMP data after the pixels


def orientation(image: PIL.Image.Image) -> int:
    """Return the orientation of an open image by its EXIF or XMP data: 1 is upright, 2 to 8 are mirrored or rotated.

    Pixels are only decoded if such data follows them in the file, which is rare and possible in PNG.
    """
    if image.format == "PNG" and "exif" not in image.info and _data_follows(image):
        image.load()
    return recorded_orientation(image)


def _data_follows(image: Any) -> bool:
    """Return whether the end of a PNG file, of which only the header was read, has EXIF or XMP data."""
    place = image.fp.tell()
    image.fp.seek(max(0, image.fp.seek(0, os.SEEK_END) - _PNG_TAIL))
    tail = image.fp.read()
    image.fp.seek(place)
    return any(mark in tail for mark in (b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp"))


def recorded_orientation(image: PIL.Image.Image) -> int:
    """Return the orientation by what has been read of the file so far."""
    # Not the method of PNG images, which always decodes the pixels.
    found = PIL.Image.Image.getexif(image).get(PIL.ExifTags.Base.Orientation, 1)
    return found if found in range(1, 9) else 1
