"""Confidence intervals of AP."""

import numpy as np
import pytest

from cascade_rcnn.reporting.headline import draws, headline


def test_perfect_detections_have_no_spread(scene):
    truth = [(k, 10, 10, 40, 40, 1 + k % 2) for k in range(6)]
    evidence = scene(truth, [(*row[:5], 0.9, row[5]) for row in truth], images=6)
    found = headline(draws(evidence.pairs.matches), evidence.names, evidence.pairs.matches.truth)
    assert all(one == (1, 1, 1) for one in found.overall.values())
    assert [(row.name, row.boxes) for row in found.classes] == [("cat", 3), ("dog", 3)]
    assert len(found.by_iou) == 10


def test_the_mean_is_the_evaluator_s(scene):
    truth = [(k, 10, 10, 40, 40, 1) for k in range(6)]
    shifted = [(k, 10 + 3 * k, 10, 40, 40, 0.9 - k / 100, 1) for k in range(6)]
    evidence = scene(truth, shifted, images=6)
    found = headline(draws(evidence.pairs.matches), evidence.names, evidence.pairs.matches.truth)
    metrics = evidence.metrics
    assert found.overall["ap"].mean == pytest.approx(metrics.ap)
    assert found.overall["ap90"].mean == pytest.approx(metrics.ap90)
    assert [one.mean for one in found.by_iou] == pytest.approx(metrics.precision_by_iou)
    assert found.overall["ap"].low < metrics.ap < found.overall["ap"].high
    assert np.isnan(found.classes[1].values["ap"].mean)  # no dogs
