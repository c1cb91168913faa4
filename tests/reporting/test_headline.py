"""Confidence intervals of AP."""

import numpy as np
import pytest

from cascade_rcnn.evaluation.bootstrap import interval
from cascade_rcnn.reporting.headline import draws, headline


def test_perfect_detections_have_no_spread(scene):
    truth = [(k, 10 + 60 * side, 10, 40, 40, 1 + side) for k in range(10) for side in (0, 1)]
    evidence = scene(truth, [(*row[:5], 0.9, row[5]) for row in truth], images=10)
    found = headline(draws(evidence.pairs.matches), evidence.names, evidence.pairs.matches.truth)
    assert all(one == (1, 1, 1) for one in found.overall.values())
    assert [(row.name, row.boxes) for row in found.classes] == [("cat", 10), ("dog", 10)]
    assert len(found.by_iou) == 10


def test_the_mean_is_the_evaluator_s(scene):
    truth = [(k, 10, 10, 40, 40, 1) for k in range(10)]
    shifted = [(k, 10 + 2 * k, 10, 40, 40, 0.9 - k / 100, 1) for k in range(10)]
    evidence = scene(truth, shifted, images=10)
    found = headline(draws(evidence.pairs.matches), evidence.names, evidence.pairs.matches.truth)
    metrics = evidence.metrics
    assert found.overall["ap"].mean == pytest.approx(metrics.ap)
    assert found.overall["ap90"].mean == pytest.approx(metrics.ap90)
    assert [one.mean for one in found.by_iou] == pytest.approx(metrics.precision_by_iou)
    low, high = found.overall["ap"][1:]
    assert 0 < low < metrics.ap < high < 1
    assert high - metrics.ap == pytest.approx(metrics.ap - low)
    assert np.isnan(found.classes[1].values["ap"].mean)  # no dogs


def test_few_images_have_no_interval(scene):
    """Ten images give one, but of the classes only the one that is in all of them."""
    truth = [(k, 10, 10, 40, 40, 1) for k in range(10)]
    truth += [(k, 100, 100, 40, 40, 2) for k in (*range(9), 0)]  # ten dogs in nine images
    evidence = scene(truth, [(*row[:5], 0.9, row[5]) for row in truth], images=10)
    found = headline(draws(evidence.pairs.matches), evidence.names, evidence.pairs.matches.truth)
    cat, dog = (row.values["ap"] for row in found.classes)
    assert found.overall["ap"] == cat == (1, 1, 1)
    assert dog.mean == 1
    assert np.isnan(dog[1:]).all()
    nine = evidence.pairs.matches.truth[:9]
    few = headline(draws(evidence.pairs.matches), evidence.names, nine)
    assert all(np.isnan(one[1:]).all() for one in (*few.overall.values(), *few.by_iou))
    assert few.overall["ap"].mean == 1


def test_images_without_objects_do_not_count(scene):
    truth = [(k, 10, 10, 40, 40, 1) for k in range(9)]
    evidence = scene(truth, [(*row[:5], 0.9, row[5]) for row in truth], images=20)
    found = headline(draws(evidence.pairs.matches), evidence.names, evidence.pairs.matches.truth)
    assert np.isnan(found.overall["ap"][1:]).all()


def test_differences_have_quantiles_below_zero():
    """One class in ten images: AP differs by -0.1 on the dataset, and by -0.1 to 0 on its resamples."""
    values = np.array([-0.1, *np.linspace(-0.1, 0, 101)])[:, None, None].repeat(10, axis=2)
    found = headline(values, ["cat"], np.ones((10, 1), int), interval)
    assert found.overall["ap"] == found.classes[0].values["ap"] == pytest.approx((-0.1, -0.0975, -0.0025))
