"""Colours and labels of the boxes in pictures."""

import numpy as np
import PIL.ImageColor

from cascade_rcnn.reporting.images import image_scores
from cascade_rcnn.reporting.pictures import (
    IGNORED,
    MISSED,
    RIGHT,
    TRUE,
    WRONG,
    Box,
    close_up,
    found_boxes,
    true_boxes,
)

CROWD = (0, 100, 100, 80, 80, 1, 1)


def test_right_wrong_and_missed(scene):
    truth = [(0, 10, 10, 40, 40, 1), (0, 10, 100, 40, 40, 2)]
    evidence = scene(truth, [(0, 10, 10, 40, 40, 0.9, 1), (0, 100, 100, 40, 40, 0.8, 2)])
    assert [box[1:] for box in found_boxes(evidence, 0)] == [(WRONG, "dog 0.80"), (RIGHT, "")]
    assert [box[1:] for box in true_boxes(evidence, 0)] == [(RIGHT, ""), (MISSED, "dog")]


def test_what_is_ignored_is_neither(scene):
    """A crowd is grey, detected or not, and so are detections in it of its own class alone."""
    evidence = scene([CROWD], [(0, 110, 110, 20, 20, 0.9, 1), (0, 150, 150, 20, 20, 0.8, 2)])
    assert [box[1:] for box in found_boxes(evidence, 0)] == [(WRONG, "dog 0.80"), (IGNORED, "cat 0.90, ignored")]
    for one in (evidence, scene([CROWD], [])):
        assert [box[1:] for box in true_boxes(one, 0)] == [(IGNORED, "cat, ignored")]
        assert image_scores(one).missed.tolist() == [0, 0]


def test_the_box_of_a_close_up_is_drawn_over_the_others():
    """Both are 40 pixels wide, from (20, 20); enlarged to 320 / 96, their upper edges are at 67."""
    box = (20.0, 20.0, 40.0, 40.0)
    picture = close_up(np.zeros((96, 96, 3), np.uint8), [Box(box, WRONG), Box(box, TRUE)])
    assert picture.getpixel((130, 67)) == PIL.ImageColor.getrgb(WRONG)
