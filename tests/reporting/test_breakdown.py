"""AP by the objects' properties, by hand."""

import numpy as np
import pytest

from cascade_rcnn.reporting.breakdown import box_iou, breakdown

CAT = 1


def by_name(groups):
    return {group.name: group for group in groups}


def test_iou_by_hand():
    a = np.array([[0.0, 0, 10, 10], [0, 0, 0, 0]])
    b = np.array([[5.0, 0, 10, 10], [0, 0, 10, 10], [50, 50, 5, 5], [0, 0, 0, 0]])
    np.testing.assert_allclose(box_iou(a, b), [[1 / 3, 1, 0, 0], [0, 0, 0, 0]])


def test_size(scene):
    """A small object is found, and one of two large ones; a small false positive affects only the AP of small ones."""
    truth = [(0, 10, 10, 20, 20, CAT), (0, 60, 60, 50, 50, CAT), (1, 60, 60, 50, 50, CAT)]
    found = [
        (0, 120, 10, 20, 20, 0.95, CAT),  # a small false positive
        (0, 10, 10, 20, 20, 0.9, CAT),
        (0, 60, 60, 50, 50, 0.8, CAT),
    ]
    size = by_name(breakdown(scene(truth, found)).size)
    assert {name: group.objects for name, group in size.items()} == {"16 to 32 px": 1, "32 to 64 px": 2}
    assert size["16 to 32 px"].ap == pytest.approx(0.5)  # found in second place
    assert size["32 to 64 px"].ap == pytest.approx(51 / 101)
    assert size["16 to 32 px"].recall == 1
    assert size["32 to 64 px"].recall == 0.5


def test_a_side_of_32_is_small_as_in_coco(scene):
    assert [group.name for group in breakdown(scene([(0, 10, 10, 32, 32, CAT)], [])).size] == ["16 to 32 px"]


def test_shape(scene):
    truth = [(0, 10, 10, 20, 80, CAT), (0, 60, 10, 40, 40, CAT), (1, 10, 60, 100, 20, CAT)]
    found = [(0, 60, 10, 40, 40, 0.9, CAT)]
    shape = by_name(breakdown(scene(truth, found)).shape)
    assert {name: group.recall for name, group in shape.items()} == {
        "tall (under 1:3)": 0,
        "about square": 1,
        "very wide (over 3:1)": 0,
    }


def test_crowding(scene):
    """Two boxes of IoU 20/60 = 1/3 and an isolated one; a false positive next to the pair counts with the pair."""
    truth = [(0, 10, 10, 40, 40, CAT), (0, 30, 10, 40, 40, CAT), (1, 10, 10, 40, 40, CAT)]
    found = [
        (0, 10, 60, 40, 40, 0.99, CAT),  # touches nothing: counts with the isolated ones
        (0, 5, 20, 30, 60, 0.95, CAT),  # overlaps the first of the pair
        (0, 10, 10, 40, 40, 0.9, CAT),
        (1, 10, 10, 40, 40, 0.8, CAT),
    ]
    crowding = by_name(breakdown(scene(truth, found)).crowding)
    pair, alone = crowding["overlapping (IoU 0.2 to 0.5)"], crowding["alone"]
    assert (pair.objects, alone.objects) == (2, 1)
    assert alone.ap == pytest.approx(0.5)  # its only false positive scores higher
    assert pair.ap == pytest.approx(0.5 * 51 / 101)  # recall .5 at precision .5
    assert pair.recall == 0.5


def test_crowds_are_not_neighbours(scene):
    """The false positive overlaps the crowd most, but counts with the object, which is alone."""
    truth = [(0, 10, 10, 60, 60, CAT, 1), (0, 10, 10, 40, 40, CAT), (1, 10, 10, 40, 40, CAT)]
    found = [(0, 10, 30, 40, 90, 0.9, CAT), (0, 10, 10, 40, 40, 0.8, CAT)]
    (alone,) = breakdown(scene(truth, found)).crowding
    assert (alone.name, alone.objects) == ("alone", 2)
    assert alone.ap == pytest.approx(0.5 * 51 / 101)


def test_crowds_are_not_objects(scene):
    assert breakdown(scene([(0, 10, 10, 32, 32, CAT, 1)], [])).size == []
