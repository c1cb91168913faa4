"""Drawings of detections."""

from dataclasses import replace

import numpy as np
import PIL.Image
import PIL.ImageDraw
import pytest

from cascade_rcnn.drawing import _ink_on, _resized, draw, side_by_side
from cascade_rcnn.results import to_supervision

FOUND = {
    "boxes": np.array([[10.0, 20, 50, 60], [5, 5, 9, 9], [0, 0, 100, 80]]),
    "scores": np.array([0.9, 0.5, 0.2]),
    "labels": np.array([2, 1, 2]),
}


@pytest.mark.parametrize("shape", [(100, 120), (30, 40), (900, 1300)])
def test_draw_marks_the_box_and_leaves_the_image(shape):
    image = np.zeros((*shape, 3), np.uint8)
    detections = to_supervision({k: v[1:2] for k, v in FOUND.items()}, ["cat", "dog"], 0.0)
    picture = draw(image, detections)
    factor = picture.width // shape[1]
    assert picture.size == (shape[1] * factor, shape[0] * factor)
    assert factor == {120: 5, 40: 16, 1300: 1}[shape[1]]  # small images are enlarged towards 640
    assert np.asarray(picture)[5 * factor, 5 * factor : 9 * factor].any()
    assert not image.any()


def test_draw_nothing_and_ground_truth():
    image = np.zeros((50, 50, 3), np.uint8)
    assert not np.asarray(draw(image, to_supervision(FOUND, ["cat", "dog"], 0.95))).any()
    truth = replace(to_supervision(FOUND, ["cat", "dog"], 0.0), confidence=None)
    assert np.asarray(draw(image, truth)).any()


def test_a_name_that_is_no_valid_text_is_drawn_escaped():
    one = {"boxes": np.array([[100.0, 100, 300, 300]]), "scores": np.ones(1), "labels": np.array([1])}
    a, b = (draw(np.zeros((400, 640, 3), np.uint8), to_supervision(one, [name], 0.0)) for name in ("\ud83d", "\\ud83d"))
    assert np.array_equal(np.asarray(a), np.asarray(b))


def test_the_first_class_is_drawn_in_red():
    image = np.zeros((640, 640, 3), np.uint8)
    one = {"boxes": np.array([[100.0, 100, 300, 300]]), "scores": np.ones(1), "labels": np.array([1])}
    red, green, blue = np.asarray(draw(image, to_supervision(one, ["cat"], 0.0)))[200, 100]
    assert red > 150 > max(green, blue)


def test_side_by_side_at_one_height_under_captions():
    red, blue = PIL.Image.new("RGB", (200, 100), "red"), PIL.Image.new("RGB", (100, 100), "blue")
    sheet = side_by_side([red, blue], ["found", "true"], 60)
    assert sheet.size == (120 + 1 + 60, 60 + 4)
    assert sheet.getpixel((60, 40)) == (255, 0, 0)
    assert sheet.getpixel((150, 40)) == (0, 0, 255)
    assert sheet.getpixel((60, 1)) != (255, 0, 0)


def test_long_captions_end_within_their_picture():
    pictures = [PIL.Image.new("RGB", (100, 200), "red")] * 2
    long, none = (np.asarray(side_by_side(pictures, [text, ""], 200)) for text in ("runs/experiment" * 9, ""))
    assert (long != none)[:, :100].any()
    assert not (long != none)[:, 100:].any()


def test_very_wide_and_very_high_images_side_by_side():
    assert side_by_side([PIL.Image.new("RGB", (3000, 2))] * 2, ["found", "true"], 2).size == (6000, 2)
    assert side_by_side([PIL.Image.new("RGB", (1, 900))] * 2, ["found", "true"], 60).size == (1 + 1 + 1, 64)


def test_text_on_a_colour_is_legible():
    assert [_ink_on(color) for color in ("#f5a524", "#ff7f0e", "#e5484d", "#3b82f6")] == [
        "black",
        "black",
        "white",
        "white",
    ]


def test_masks_are_resized_like_the_picture():
    mask = np.zeros((1, 4, 6), np.bool_)
    mask[0, 1:3, 2:4] = True
    assert _resized(None, 2, 8, 12) is None
    np.testing.assert_array_equal(_resized(mask, 2, 8, 12), mask.repeat(2, axis=1).repeat(2, axis=2))
    np.testing.assert_array_equal(_resized(mask, 1 / 2, 2, 3)[0], mask[0, ::2, ::2])
