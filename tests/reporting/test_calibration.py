"""Scores against precision, by hand."""

import math

import pytest

from cascade_rcnn.reporting.calibration import calibration

TRUTH = [(0, 10, 10, 20, 20, 1), (1, 10, 10, 20, 20, 1)]


def test_by_hand(scene):
    """Score .95 correct, .85 wrong, .85 correct: a gap of .05 for one detection and of .35 for two."""
    found = [
        (0, 10, 10, 20, 20, 0.95, 1),
        (0, 100, 100, 20, 20, 0.85, 1),
        (1, 10, 10, 20, 20, 0.85, 1),
        (1, 100, 100, 20, 20, 0.01, 1),  # too low to count
    ]
    measured = calibration(scene(TRUTH, found))
    low, high = measured.bins
    assert (low.detections, high.detections) == (2, 1)
    assert (low.score, low.precision) == (pytest.approx(0.85), pytest.approx(0.5))
    assert (high.score, high.precision) == (pytest.approx(0.95), pytest.approx(1.0))
    assert measured.error == pytest.approx((1 * 0.05 + 2 * 0.35) / 3)
    assert measured.bias == pytest.approx((1 * -0.05 + 2 * 0.35) / 3)


def test_without_detections(scene):
    measured = calibration(scene(TRUTH, []))
    assert math.isnan(measured.error)
    assert measured.bins == []
