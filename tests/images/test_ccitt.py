"""Fax-compressed TIFF images: whole ones are read as they are, undefined pixels are refused."""

import ctypes
import io
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from cascade_rcnn.errors import UserError
from cascade_rcnn.images import ccitt
from cascade_rcnn.images.decoding import decode_image

needs_glibc = pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library is not glibc"
)


def scan() -> PIL.Image.Image:
    y, x = np.mgrid[:60, :90]
    return PIL.Image.fromarray(((x // 7 + y // 5) % 3 == 0).astype(np.uint8) * 255).convert("1")


def encoded(compression: str = "group4") -> bytes:
    file = io.BytesIO()
    scan().save(file, "TIFF", compression=compression)
    return file.getvalue()


@pytest.mark.parametrize("compression", ["group3", "group4", "tiff_ccitt"])
def test_whole_images_are_read_as_pillow_reads_them(compression, tmp_path: Path):
    (path := tmp_path / "scan.tif").write_bytes(encoded(compression))
    with PIL.Image.open(path) as image:
        assert ccitt.is_fax(image)
    np.testing.assert_array_equal(decode_image(path), np.asarray(scan().convert("RGB")))
    np.testing.assert_array_equal(decode_image(io.BytesIO(path.read_bytes())), decode_image(path))


def test_other_images_are_not_concerned(tmp_path: Path):
    scan().save(tmp_path / "scan.tif", compression="tiff_lzw")
    with PIL.Image.open(tmp_path / "scan.tif") as image:
        assert not ccitt.is_fax(image)
    assert not ccitt.is_fax(scan())


@needs_glibc
def test_an_early_end_of_the_data_is_refused(tmp_path: Path, capfd):
    """The code of the end of the image (T.6, 2.4.1.1), and zeros: the rest of the rows is undefined."""
    data = bytearray(encoded())
    with PIL.Image.open(io.BytesIO(data)) as image:
        (start,), (length,) = image.tag_v2[273], image.tag_v2[279]  # type: ignore[attr-defined]
    middle = start + length // 2
    data[middle : start + length] = b"\x00\x10\x01".ljust(start + length - middle, b"\0")
    (path := tmp_path / "scan.tif").write_bytes(data)
    with pytest.raises(UserError, match=r"scan\.tif: cannot open this image \(its fax-compressed data is damaged\)"):
        decode_image(path)
    capfd.readouterr()  # libtiff's own messages
