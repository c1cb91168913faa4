"""Differences between exports and checkpoints, computed by hand."""

from dataclasses import replace

import numpy as np
import pytest

from cascade_rcnn.errors import UserError
from cascade_rcnn.export.verify import TOLERANCES, ImageDetections, Tolerance, compare

TOLERANCE = Tolerance(boxes=2.0, relative=True, scores=0.02, masks=0.05, missing=0.25)


def found(*boxes: tuple[float, float, float, float], score: float = 0.9, label: int = 1) -> ImageDetections:
    number = len(boxes)
    return ImageDetections(np.array(boxes, dtype=float).reshape(-1, 4), np.full(number, score), np.full(number, label))


def test_the_largest_differences():
    difference = compare(
        [found((0, 0, 10, 10), (50, 50, 70, 90))], [found((50, 50, 70, 91), (0, 0, 10.5, 10), score=0.88)]
    )
    assert (difference.images, difference.expected, difference.found, difference.missing) == (1, 2, 2, 0)
    assert difference.boxes == difference.shift == 1
    assert difference.scores == pytest.approx(0.02)
    assert "2 of 2 detections, 0 without a counterpart; largest difference: boxes 1 px" in str(difference)


def test_of_a_large_box_percent_count_where_the_tolerance_is_relative():
    difference = compare([found((0, 0, 400, 100))], [found((0, 0, 406, 100))])
    assert difference.boxes == 6
    assert difference.shift == pytest.approx(1.5)
    difference.check(TOLERANCE)
    with pytest.raises(UserError, match=r"boxes 2\.5 px.*limits: 2\.0 px, 2\.0 % of boxes longer than 100"):
        compare([found((0, 0, 90, 90))], [found((0, 0, 92.5, 90))]).check(TOLERANCE)
    with pytest.raises(UserError, match=r"boxes 6 px.*limits: 2\.0 px, 0\.02"):
        difference.check(replace(TOLERANCE, relative=False))
    assert not TOLERANCES["fp32"].relative


def test_detections_without_a_counterpart():
    expected = [found((0, 0, 10, 10), (50, 50, 70, 90))]
    other_class = compare(expected, [found((0, 0, 10, 10), (50, 50, 70, 90), label=2)])
    assert other_class.missing == 4
    with pytest.raises(UserError, match="4 without a counterpart"):
        other_class.check(TOLERANCE)
    one = compare(expected, [found((0, 0, 10, 10))])
    assert one.missing == 1
    with pytest.raises(UserError, match="1 of 2 detections"):
        one.check(TOLERANCE)  # a quarter of three is allowed
    assert compare([found()], [found()]).missing == 0


def test_masks_of_the_same_detections_are_compared():
    maps = np.zeros((2, 4, 4))
    one = found((0, 0, 10, 10), (50, 50, 70, 90))
    other = found((50, 50, 70, 90), (0, 0, 10, 10))
    assert compare([one], [other]).masks is None
    changed = maps.copy()
    changed[1, 0] = 0.4  # a quarter of the first detection's mask
    difference = compare([one._replace(masks=maps)], [other._replace(masks=changed)])
    assert difference.masks == pytest.approx(0.1)
    assert str(difference).endswith("scores 0, masks 0.1")
    with pytest.raises(UserError, match=r"masks 0\.1; limits: .*, masks 0\.05"):
        difference.check(TOLERANCE)


def test_scores_alone_can_be_too_far():
    with pytest.raises(UserError, match=r"scores 0\.1"):
        compare([found((0, 0, 9, 9))], [found((0, 0, 9, 9), score=0.8)]).check(TOLERANCE)
