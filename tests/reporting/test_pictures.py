"""Colours and labels of the boxes in pictures."""

import numpy as np
import PIL.Image
import PIL.ImageColor

from cascade_rcnn.reporting import pictures
from cascade_rcnn.reporting.images import image_scores
from cascade_rcnn.reporting.label_errors import suspects
from cascade_rcnn.reporting.pictures import (
    IGNORED,
    MISSED,
    RIGHT,
    TRUE,
    WRONG,
    Box,
    close_up,
    drawn,
    found_boxes,
    true_boxes,
)

from .conftest import outline

CROWD = (0, 100, 100, 80, 80, 1, 1)


def test_right_wrong_and_missed(scene):
    truth = [(0, 10, 10, 40, 40, 1), (0, 10, 100, 40, 40, 2)]
    evidence = scene(truth, [(0, 10, 10, 40, 40, 0.9, 1), (0, 100, 100, 40, 40, 0.8, 2)])
    assert [box[1:3] for box in found_boxes(evidence, 0)] == [(WRONG, "dog 0.80"), (RIGHT, "")]
    assert [box[1:3] for box in true_boxes(evidence, 0)] == [(RIGHT, ""), (MISSED, "dog")]


def test_what_is_ignored_is_neither(scene):
    """A crowd is grey, detected or not, and so are detections in it of its own class alone."""
    evidence = scene([CROWD], [(0, 110, 110, 20, 20, 0.9, 1), (0, 150, 150, 20, 20, 0.8, 2)])
    assert [box[1:3] for box in found_boxes(evidence, 0)] == [(WRONG, "dog 0.80"), (IGNORED, "cat 0.90, ignored")]
    for one in (evidence, scene([CROWD], [])):
        assert [box[1:3] for box in true_boxes(one, 0)] == [(IGNORED, "cat, ignored")]
        assert image_scores(one).missed.tolist() == [0, 0]


def test_the_box_of_a_close_up_is_drawn_over_the_others():
    """Both are 40 pixels wide, from (20, 20); enlarged to 320 / 96, their upper edges are at 67."""
    box = (20.0, 20.0, 40.0, 40.0)
    picture = close_up(np.zeros((96, 96, 3), np.uint8), [Box(box, WRONG), Box(box, TRUE)])
    assert picture.getpixel((130, 67)) == PIL.ImageColor.getrgb(WRONG)


def test_masks_are_painted_in_the_colour_of_their_box(scene):
    """Masks fill the left half of each box; pictures of 200 pixels are enlarged to 640."""
    evidence = scene([(0, 10, 10, 40, 40, 1)], [(0, 100, 100, 40, 40, 0.8, 2)], masks=True)
    for boxes, colour, (x, y) in (
        (found_boxes(evidence, 0), WRONG, (100, 100)),
        (true_boxes(evidence, 0), MISSED, (10, 10)),
    ):
        picture = drawn(np.zeros((200, 200, 3), np.uint8), boxes)
        tint = np.round(0.4 * np.array(PIL.ImageColor.getrgb(colour)))
        np.testing.assert_allclose(picture.getpixel((round(3.2 * (x + 10)), round(3.2 * (y + 20)))), tint, atol=1)
        assert picture.getpixel((round(3.2 * (x + 30)), round(3.2 * (y + 20)))) == (0, 0, 0)


def test_close_ups_show_the_masks_of_their_window(scene):
    """It shows 96 pixels around the box, enlarged to 320."""
    evidence = scene([], [(0, 100, 100, 40, 40, 0.8, 2)], masks=True)
    picture = close_up(np.zeros((200, 200, 3), np.uint8), found_boxes(evidence, 0))
    scale = 320 / 96
    left = 120 - 48
    np.testing.assert_allclose(
        picture.getpixel((round(scale * (110 - left)), round(scale * (120 - left)))),
        np.round(0.4 * np.array(PIL.ImageColor.getrgb(WRONG))),
        atol=1,
    )
    assert picture.getpixel((round(scale * (130 - left)), round(scale * (120 - left)))) == (0, 0, 0)


def test_suspects_have_the_masks_of_their_detection_or_object(scene, monkeypatch):
    shown = []
    monkeypatch.setattr(pictures, "close_up", lambda _, boxes: shown.append(boxes) or PIL.Image.new("RGB", (9, 9)))
    evidence = scene([(0, 10, 10, 40, 40, 1)], [(0, 100, 100, 40, 60, 0.8, 2)], masks=True)
    for one in suspects(evidence):
        pictures.suspect_picture(evidence, np.zeros((200, 200, 3), np.uint8), one)
    assert evidence.masks is not None
    unlabelled, never_found = shown
    assert [box.mask["counts"] for box in unlabelled] == [
        outline((0, *box)).get("counts") for box in ((100, 100, 40, 60), (10, 10, 40, 40))
    ]
    assert [box.mask["counts"] for box in never_found] == [outline((0, 10, 10, 40, 40))["counts"]]
