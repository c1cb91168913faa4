"""Image files are decoded by content, and none does harm."""

import io
import os

import numpy as np
import PIL.Image
import pytest

from cascade_rcnn.errors import UserError
from cascade_rcnn.images import decoding
from cascade_rcnn.images.decoding import FORMATS, decode_image, file_holds_more, open_image
from cascade_rcnn.images.pixels import from_array


def test_an_image_turned_by_exif_stands_upright(tmp_path):
    image = PIL.Image.new("RGB", (4, 2))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.jpg", exif=exif)
    assert decode_image(tmp_path / "turned.jpg").shape == (4, 2, 3)


def test_what_is_not_an_image_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"shape \(2, 3, 5\); give \(height, width, 3\)"):
        from_array(np.zeros((2, 3, 5)))
    for low, high in ((0, 255), (-1, 1), (-2, 2.5), (0, float("nan"))):
        with pytest.raises(UserError, match=r"array of float64 has values from .*; give 0\.\.1, or uint8"):
            from_array(np.array([[low, high]], np.float64))
    with pytest.raises(UserError, match="no such image"):
        decode_image(tmp_path / "nothing.png")
    (tmp_path / "text.png").write_text("text")
    with pytest.raises(UserError, match="cannot open"):
        decode_image(tmp_path / "text.png")


@pytest.mark.parametrize("kind", list(FORMATS))
def test_every_format_is_read_by_its_content(tmp_path, kind):
    if kind not in PIL.Image.SAVE and not PIL.Image.init() and kind not in PIL.Image.SAVE:
        pytest.skip(f"this Pillow does not write {kind}")
    path = tmp_path / "a.jpg"  # whatever its extension
    with path.open("wb") as file:
        PIL.Image.new("RGB", (24, 16), (200, 100, 50)).save(file, kind)
    found = decode_image(path)
    assert found.shape == (16, 24, 3)
    assert np.abs(found[8, 12].astype(int) - (200, 100, 50)).max() < 12
    assert decode_image(io.BytesIO(path.read_bytes())).shape == (16, 24, 3)


def test_no_program_is_started_for_an_image(tmp_path, monkeypatch):
    path = tmp_path / "a.jpg"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n")
    monkeypatch.setattr("subprocess.check_call", lambda *_, **__: pytest.fail("Ghostscript is asked for"))
    with pytest.raises(UserError, match=r"a\.jpg: cannot open this image .*none of JPEG, PNG"):
        decode_image(path)


def test_a_photo_of_a_phone_that_was_only_renamed_is_named_as_such(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
    with pytest.raises(UserError, match=r"a\.jpg: this is a HEIC image, whatever its name; convert it to JPEG or PNG$"):
        decode_image(path)


def test_a_damaged_file_is_not_said_to_be_of_no_format(tmp_path):
    path = tmp_path / "a.png"
    PIL.Image.new("RGB", (8, 8)).save(path, dpi=(72, 72))
    data = bytearray(path.read_bytes())
    data[data.index(b"pHYs") + 4] ^= 1  # a checksum no longer fits
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"a\.png: cannot open .*a PNG file that is damaged or of a rare kind: broken"):
        decode_image(path)
    path.write_bytes(b"")
    with pytest.raises(UserError, match=r"a\.png: cannot open this image \(the file is empty\)"):
        decode_image(path)


def test_a_pointer_of_git_lfs_is_named(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")
    with pytest.raises(UserError, match=r"a\.jpg: this is a pointer of Git LFS"):
        decode_image(path)


def test_the_limit_of_pixels_is_the_callers_and_needs_no_decoding(tmp_path):
    path = tmp_path / "a.png"
    PIL.Image.new("1", (2000, 1000)).save(path)
    assert decode_image(path, max_megapixels=2).shape == (1000, 2000, 3)
    path.write_bytes(path.read_bytes()[:60])  # only the header
    with pytest.raises(UserError, match=r"a\.png: this image has 2000 x 1000 pixels, more than 1.9 megapixels; cut it"):
        decode_image(path, max_megapixels=1.9)
    with open_image(path, max_megapixels=None) as image:
        assert image.size == (2000, 1000)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.jpg")
    with pytest.raises(UserError, match=r"a\.jpg: this is a pipe or device"):
        decode_image(tmp_path / "a.jpg")


@pytest.mark.parametrize("error", [KeyError("x"), MemoryError(), EOFError(), RuntimeError("two\nlines")])
def test_whatever_a_decoder_raises_is_one_line_with_the_files_name(tmp_path, monkeypatch, error):
    path = tmp_path / "a.png"
    PIL.Image.new("RGB", (4, 4)).save(path)

    def broken(*_: object) -> None:
        raise error

    monkeypatch.setattr(decoding, "from_pil", broken)
    with pytest.raises(UserError, match="cannot open this image") as caught:
        decode_image(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("kinds", "more"), [([1], False), ([1, 4, 0], True), ([1] * 80 + [0], False)])
def test_copies_are_no_further_pages_and_only_so_many_are_looked_at(tmp_path, kinds, more):
    """Pillow needs quadratic time for many pages, which are small in a file."""
    path = tmp_path / "a.tif"
    pages = [PIL.Image.new("RGB", (8, 8)) for _ in kinds]
    for page, kind in zip(pages, kinds, strict=True):
        page.encoderinfo = {"tiffinfo": {254: kind}}
    PIL.Image.new("RGB", (8, 8)).save(path, save_all=True, append_images=pages)
    assert file_holds_more(path) == more
