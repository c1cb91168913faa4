"""Two sets of detections on the same data."""

from dataclasses import replace

import pytest
import torch

from cascade_rcnn.reporting.comparison import compare, difference_of_data

pytestmark = pytest.mark.usefixtures("few_draws")
TRUTH = [(k, 10, 10, 40, 40, 1 + k % 2) for k in range(10)]


def detections(right: int):
    return [(k, 10 if k < right else 120, *TRUTH[k][2:5], 0.9, TRUTH[k][5]) for k in range(10)]


def test_the_same_detections_do_not_differ(scene):
    a = scene(TRUTH, detections(5), images=10)
    found = compare(a, a)
    assert all(one == (0, 0, 0) for one in found.difference.overall.values())
    assert (found.gains == 0).all()


def test_a_constant_shift_has_no_spread(scene):
    """Every image has IoU 1 with a and 32/48 = .67 with b: AP loses the six thresholds from .7 up, in every draw."""
    b = scene(TRUTH, [(image, x + 8, *rest) for image, x, *rest in detections(10)], images=10)
    found = compare(scene(TRUTH, detections(10), images=10), b)
    assert found.difference.overall["ap"] == pytest.approx((-0.6, -0.6, -0.6))
    assert found.difference.overall["ap50"] == (0, 0, 0)
    assert found.difference.overall["ap75"] == (-1, -1, -1)
    assert found.gains.tolist() == pytest.approx([-0.6] * 10)


def test_images_won_and_lost(scene):
    found = compare(scene(TRUTH, detections(3), images=10), scene(TRUTH, detections(6), images=10))
    assert found.gains.tolist() == [0, 0, 0, 1, 1, 1, 0, 0, 0, 0]
    values = found.to_dict()
    assert list(values["images"])[-3:] == ["3.png", "4.png", "5.png"]
    assert values["difference"]["ap"]["mean"] > 0
    assert values["classes"]["dog"]["ap"]["mean"] > 0


def test_how_data_differs(scene):
    truth = scene(TRUTH, [], images=10).truth
    assert difference_of_data(truth, truth) is None
    assert difference_of_data(truth, scene(TRUTH, [], images=11).truth) == "one has 10 images, the other 11"
    assert difference_of_data(truth, scene([*TRUTH[:-1], (9, 11, 10, 40, 40, 1)], [], images=10).truth) == (
        "their boxes differ"
    )
    assert difference_of_data(truth, replace(truth, image_ids=truth.image_ids + 1)) == "their images differ"
    assert difference_of_data(truth, replace(truth, categories=truth.categories[:1])) == "their classes differ"
    assert difference_of_data(truth, replace(truth, ignore=torch.ones_like(truth.ignore))) == "their boxes differ"
