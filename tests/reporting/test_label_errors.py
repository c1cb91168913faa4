"""Suspicious annotations: one of each kind, and none in clean data."""

import pytest

from cascade_rcnn.reporting.label_errors import suspects

TRUTH = [(0, 10, 10, 40, 40, 1), (1, 10, 10, 40, 40, 2)]
RIGHT = [(0, 10, 10, 40, 40, 0.9, 1), (1, 10, 10, 40, 40, 0.9, 2)]


def test_good_detections_raise_no_suspicion(scene):
    assert suspects(scene(TRUTH, RIGHT)) == []


def test_a_confident_detection_without_an_object(scene):
    (found,) = suspects(scene(TRUTH, [*RIGHT, (1, 120, 120, 30, 20, 0.8, 1), (0, 120, 120, 30, 20, 0.6, 1)]))
    assert found[:3] == ("unlabelled", 1, pytest.approx((120, 120, 30, 20)))
    assert (found.found, found.true, found.score) == ("cat", "", pytest.approx(0.8))
    assert found.annotation_id is None


def test_another_class(scene):
    (found,) = suspects(scene(TRUTH, [RIGHT[0], (1, 10, 10, 40, 40, 0.8, 1)]))
    assert found[:2] == ("class", 1)
    assert (found.found, found.true, found.annotation_id) == ("cat", "dog", 2)


def test_an_object_that_nothing_comes_near(scene):
    """Its IoU is 20/60 with a detection of any class and score; a crowd does not count."""
    truth = [*TRUTH, (1, 100, 100, 40, 40, 1), (0, 100, 100, 40, 40, 1, 1)]
    (found,) = suspects(scene(truth, [*RIGHT, (1, 120, 100, 40, 40, 0.02, 2)]))
    assert found[:3] == ("never found", 1, (100, 100, 40, 40))
    assert (found.true, found.score, found.annotation_id) == ("cat", pytest.approx(1 / 3), 3)
