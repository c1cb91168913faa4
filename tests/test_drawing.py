"""Detections handed to supervision, and drawn."""

from dataclasses import replace

import numpy as np
import PIL.Image
import pytest
import torch

from cascade_rcnn.drawing import draw, side_by_side, to_supervision

FOUND = {
    "boxes": torch.tensor([[10.0, 20, 50, 60], [5, 5, 9, 9], [0, 0, 100, 80]]),
    "scores": torch.tensor([0.9, 0.5, 0.2]),
    "labels": torch.tensor([2, 1, 2]),
}


def test_to_supervision_counts_classes_from_zero():
    found = to_supervision(FOUND, ["cat", "dog"], 0.5)
    assert found.xyxy.tolist() == FOUND["boxes"][:2].tolist()
    assert found.class_id.tolist() == [1, 0]
    assert found.data["class_name"].tolist() == ["dog", "cat"]
    assert found.confidence.tolist() == pytest.approx([0.9, 0.5])  # the threshold itself is in


def test_half_precision_and_nothing_found():
    half = {name: value.half() if value.is_floating_point() else value for name, value in FOUND.items()}
    assert to_supervision(half, ["cat", "dog"], 0.0).xyxy.dtype == np.float32
    none = to_supervision(FOUND, ["cat", "dog"], 0.95)
    assert len(none) == 0
    assert none.xyxy.shape == (0, 4)


@pytest.mark.parametrize("shape", [(100, 120), (30, 40), (900, 1300)])
def test_draw_marks_the_box_and_leaves_the_image(shape):
    image = np.zeros((*shape, 3), np.uint8)
    detections = to_supervision({k: v[1:2] for k, v in FOUND.items()}, ["cat", "dog"], 0.0)
    picture = draw(image, detections)
    factor = picture.width // shape[1]
    assert picture.size == (shape[1] * factor, shape[0] * factor)
    assert factor == {120: 5, 40: 16, 1300: 1}[shape[1]]  # small ones are enlarged towards 640
    assert np.asarray(picture)[5 * factor, 5 * factor : 9 * factor].any()
    assert not image.any()


def test_draw_nothing_and_ground_truth():
    image = np.zeros((50, 50, 3), np.uint8)
    assert not np.asarray(draw(image, to_supervision(FOUND, ["cat", "dog"], 0.95))).any()
    truth = replace(to_supervision(FOUND, ["cat", "dog"], 0.0), confidence=None)
    assert np.asarray(draw(image, truth)).any()


def test_the_first_class_is_drawn_in_red():
    image = np.zeros((640, 640, 3), np.uint8)
    one = {"boxes": torch.tensor([[100.0, 100, 300, 300]]), "scores": torch.ones(1), "labels": torch.tensor([1])}
    red, green, blue = np.asarray(draw(image, to_supervision(one, ["cat"], 0.0)))[200, 100]
    assert red > 150 > max(green, blue)


def test_side_by_side_at_one_height_under_captions():
    red, blue = PIL.Image.new("RGB", (200, 100), "red"), PIL.Image.new("RGB", (100, 100), "blue")
    sheet = side_by_side([red, blue], ["found", "true"], 60)
    assert sheet.size == (120 + 1 + 60, 60 + 4)
    assert sheet.getpixel((60, 40)) == (255, 0, 0)
    assert sheet.getpixel((150, 40)) == (0, 0, 255)
    assert sheet.getpixel((60, 1)) != (255, 0, 0)
