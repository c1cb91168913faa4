"""Metrics at a score threshold, by hand."""

import numpy as np
import pytest

from cascade_rcnn.reporting.thresholds import best, operate

TRUTH = [(0, 10, 10, 20, 20, 1), (0, 60, 60, 20, 20, 1), (1, 10, 10, 20, 20, 2)]
FOUND = [
    (0, 10, 10, 20, 20, 0.9, 1),  # correct
    (0, 120, 120, 20, 20, 0.8, 1),  # wrong
    (1, 10, 10, 20, 20, 0.6, 2),  # correct
    (0, 60, 60, 20, 20, 0.3, 1),  # correct
    (1, 120, 120, 20, 20, 0.1, 2),  # wrong
]


def test_all_classes_together(scene):
    matches = scene(TRUTH, FOUND).pairs.matches
    high, middle, low, none = operate(matches, np.array([0.85, 0.5, 0.05, 0.95]))
    assert high[:5] == (0.85, 1, pytest.approx(1 / 3), pytest.approx(2 / 4), 1)
    assert middle[:5] == (0.5, pytest.approx(2 / 3), pytest.approx(2 / 3), pytest.approx(4 / 6), 3)
    assert low[:5] == (0.05, pytest.approx(3 / 5), 1, pytest.approx(6 / 8), 5)
    assert np.isnan([none.precision, none.precision75]).all()
    assert (none.recall, none.f1, none.detections, none.recall75) == (0, 0, 0, 0)


def test_loose_boxes_are_correct_at_50_only(scene):
    """The box of the second object is 14 of its 20 pixels wide: an IoU of 0.7."""
    loose = [*FOUND[:3], (0, 60, 60, 14, 20, 0.3, 1), FOUND[4]]
    matches = scene(TRUTH, loose).pairs.matches
    one, other = operate(matches, np.array([0.2]))[0], operate(matches, np.array([0.2]), label=1)[0]
    assert (one.precision, one.recall) == (pytest.approx(3 / 4), 1)
    assert (one.precision75, one.recall75) == (pytest.approx(2 / 4), pytest.approx(2 / 3))
    assert (other.precision75, other.recall75) == (pytest.approx(1 / 3), pytest.approx(1 / 2))


def test_the_best_is_in_the_middle_of_those_alike(scene):
    """All three correct and one wrong gives F1 6/7 for every threshold from .11 to .30; the middle is .21."""
    matches = scene(TRUTH, FOUND).pairs.matches
    found = best(matches)
    assert found is not None
    assert found.threshold == pytest.approx(0.21)
    assert found.f1 == pytest.approx(6 / 7)


def test_of_one_class(scene):
    """Dogs: correct at .6, wrong at .1, so F1 is 1 for thresholds .11 to .60."""
    found = best(scene(TRUTH, FOUND).pairs.matches, label=2)
    assert found is not None
    assert (found.threshold, found.f1, found.detections) == (pytest.approx(0.36), 1, 1)


def test_crowds_are_neither_right_nor_wrong(scene):
    crowd = [*TRUTH, (1, 100, 100, 80, 80, 2, 1)]
    (found,) = operate(scene(crowd, FOUND).pairs.matches, np.array([0.05]))
    assert (found.precision, found.detections) == (pytest.approx(3 / 4), 4)


def test_without_a_correct_detection_there_is_no_best(scene):
    assert best(scene(TRUTH, FOUND[1:2]).pairs.matches) is None
    assert scene(TRUTH, FOUND[1:2], threshold=None).threshold == 0.5


def test_the_default_threshold_is_the_best(scene):
    assert scene(TRUTH, FOUND, threshold=None).threshold == pytest.approx(0.21)


def test_scores_below_the_steps(scene):
    """A thousandth of the scores above: F1 is 6/7 from the score of the third correct detection on, and 1 for dogs."""
    low = [(*row[:5], row[5] / 1000, row[6]) for row in FOUND]
    evidence = scene(TRUTH, low, threshold=None)
    assert (evidence.threshold, evidence.operating.f1) == (pytest.approx(0.0003), pytest.approx(6 / 7))
    found = best(evidence.pairs.matches, label=2)
    assert found is not None
    assert (found.threshold, found.f1, found.detections) == (pytest.approx(0.0006), 1, 1)


def test_low_scores_do_not_matter_to_ordinary_ones(scene):
    """Two hundred false positives below 0.01 leave the best threshold where it is."""
    noise = [(k % 2, 120, 20, 20, 20, 0.00004 * (k + 1), 1 + k % 2) for k in range(200)]
    assert scene(TRUTH, [*FOUND, *noise], threshold=None, limit=300).threshold == pytest.approx(0.21)
