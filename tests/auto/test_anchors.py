import numpy as np
import pytest

from cascade_rcnn.auto.anchors import coverage, extents, fitting

SIZES, RATIOS = (32, 64, 128), (0.5, 1.0, 2.0)


@pytest.mark.parametrize(
    ("box", "covered"),
    [
        ((32, 32), True),
        ((22, 23), False),  # 506 of 1024: just below one half
        ((23, 23), True),  # 529 of 1024
        ((90, 45), True),  # the anchor of ratio .5 at 64 is 90.5 x 45.3
        ((200, 20), False),
    ],
)
def test_a_box_is_covered_from_an_iou_of_a_half_on(box, covered):
    assert coverage(np.array([box], float), SIZES, RATIOS) == float(covered)


def test_coverage_is_a_share():
    assert coverage(np.array([[32.0, 32], [64, 64], [128, 128], [4, 4]]), SIZES, RATIOS) == 0.75


def test_the_size_of_a_thin_box_is_twice_its_short_side():
    assert extents(np.array([[32.0, 32], [16, 64], [10, 40], [600, 4]])).tolist() == [32, 32, 20, 8]


def test_anchors_that_cover_enough_stay():
    boxes = np.array([[32.0, 32]] * 8 + [[2.0, 2]] * 2)
    assert fitting(boxes, SIZES, RATIOS) == (SIZES, RATIOS, 0.8)


def test_smaller_boxes_need_smaller_anchors_and_no_others():
    """Squares of side 16 have half the area of side 23, which is 32 / sqrt(2), so that factor suffices."""
    found = fitting(np.array([[16.0, 16]] * 10), SIZES, RATIOS)
    assert found.ratios == RATIOS
    assert found.sizes == (16, 32, 64)  # 23 overlaps 256 of 529: below one half
    assert found.share == 1


def test_larger_boxes_need_larger_anchors():
    found = fitting(np.array([[400.0, 400]] * 10), SIZES, RATIOS)
    assert found.sizes == (91, 181, 362)  # factor 2 ** 1.5: 362 overlaps .82 of the area of 400, 256 overlaps .41
    assert found.share == 1


def test_long_boxes_need_ratios_of_their_own_and_keep_their_number():
    found = fitting(np.array([[320.0, 32]] * 10), SIZES, RATIOS)
    assert found.ratios == (0.1, 0.1, 0.1)
    assert found.share == 1


def test_many_shapes_need_more_ratios():
    """Seven shapes from 1:16 to 16:1, evenly spaced in the logarithm; three ratios cover too few of them."""
    boxes = np.array([[64 * 2.0**-k, 64 * 2.0**k] for k in np.linspace(-2, 2, 7)] * 4)
    found = fitting(boxes, SIZES, RATIOS)
    assert len(found.ratios) > 3
    assert found.share >= 0.8


def test_where_nothing_covers_enough_the_most_is_taken():
    boxes = np.array([[2.0**k, 2.0**k] for k in range(1, 16)])
    found = fitting(boxes, (64,), (1.0,))
    assert found.sizes == (64,)
    assert 0 < found.share < 0.8
