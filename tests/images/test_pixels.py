"""Images in any mode, and arrays, become RGB pixels."""

import numpy as np
import PIL.Image
import pytest

from cascade_rcnn.errors import UserError
from cascade_rcnn.images import pixels
from cascade_rcnn.images.decoding import decode_image
from cascade_rcnn.images.pixels import from_array, from_pil


def test_grey_becomes_three_channels():
    assert from_array(np.zeros((5, 4), np.uint8)).shape == (5, 4, 3)
    assert from_pil(PIL.Image.new("L", (4, 5))).shape == (5, 4, 3)


def test_sixteen_bits_and_floats_have_a_stated_range(tmp_path):
    values = np.array([[0, 255, 256, 32768, 65535]], np.uint16)
    for name in ("a.png", "a.tif"):
        PIL.Image.fromarray(values).save(tmp_path / name)
        assert decode_image(tmp_path / name)[..., 1].tolist() == [[0, 0, 1, 128, 255]]
    (tmp_path / "a.pgm").write_bytes(b"P5 2 1 65535\n\x80\x00\xff\xff")
    assert decode_image(tmp_path / "a.pgm")[..., 2].tolist() == [[128, 255]]
    PIL.Image.fromarray(np.array([[0, 0.5, 1]], np.float32)).save(tmp_path / "f.tif")
    assert decode_image(tmp_path / "f.tif")[..., 0].tolist() == [[0, 128, 255]]
    for bad in (1.5, -0.1, float("nan")):
        PIL.Image.fromarray(np.array([[0, bad]], np.float32)).save(tmp_path / "bad.tif")
        with pytest.raises(UserError, match=r"bad\.tif: an image has mode F with values .* convert it"):
            decode_image(tmp_path / "bad.tif")


def test_the_peak_is_that_of_16_bits_alone(tmp_path):
    values = np.array([[7, 4095, 300]], np.uint16)
    for name, expected in (("a.png", 4095), ("a.tif", 4095), ("a.jpg", None)):
        PIL.Image.fromarray(values if expected else np.uint8([[7, 90]])).save(tmp_path / name)
        with PIL.Image.open(tmp_path / name) as image:
            assert pixels.peak(image) == expected


def test_large_images_are_converted_strip_by_strip(monkeypatch):
    monkeypatch.setattr(pixels, "_STRIP", 20)  # 2 rows of 7 pixels
    for image in (PIL.Image.effect_noise((7, 5), 90), PIL.Image.effect_noise((7, 5), 90).convert("RGB")):
        assert np.array_equal(from_pil(image), np.array(image.convert("RGB")))


@pytest.mark.filterwarnings("error")
def test_a_palette_with_transparency_is_read_in_silence(tmp_path):
    image = PIL.Image.new("P", (4, 2), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    image.save(tmp_path / "a.png", transparency=bytes([0, 128]))
    assert decode_image(tmp_path / "a.png")[0, 0].tolist() == [10, 20, 30]
