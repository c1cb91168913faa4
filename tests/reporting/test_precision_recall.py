"""Precision-recall curves, by hand."""

import numpy as np
import pytest

from cascade_rcnn.reporting.precision_recall import precision_recall


def test_by_hand(scene):
    """Correct, wrong, correct at IoU .5: precision is 1 up to recall .5, then 2/3. At .75 the second is wrong, too."""
    truth = [(0, 10, 10, 40, 40, 1), (1, 10, 10, 40, 40, 1)]
    found = [(0, 10, 10, 40, 40, 0.9, 1), (0, 100, 100, 40, 40, 0.8, 1), (1, 20, 10, 40, 40, 0.7, 1)]
    half, strict, _ = precision_recall(scene(truth, found))
    assert (half.iou, strict.iou) == (0.5, 0.75)
    np.testing.assert_allclose(half.precision, [1] * 51 + [2 / 3] * 50)
    np.testing.assert_allclose(strict.precision, [1] * 51 + [0] * 50)
    assert np.mean(half.precision) == pytest.approx(scene(truth, found).metrics.ap50)


def test_without_objects(scene):
    assert np.isnan(precision_recall(scene([], []))[0].precision).all()
