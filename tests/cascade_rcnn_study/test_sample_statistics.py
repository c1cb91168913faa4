"""Statistics of the training samples of a cascade's stages."""

import numpy as np
import pytest

from cascade_rcnn.data import load_annotations
from cascade_rcnn_study.sample_statistics import describe_stage, sample_statistics


def test_statistics_of_a_stage_by_hand():
    """Six samples, four of them with IoU >= .5, of which one is an outlier at u = .6."""
    ious = np.array([0.0, 0.3, 0.55, 0.65, 0.75, 0.95])
    deltas = np.zeros((6, 4))
    deltas[2:, 0] = [0.9, 0.1, 0.2, 0.3]
    found = describe_stage(ious, deltas, 0.6)
    assert (found["samples"], found["near"], found["outliers"]) == (6, 4, 1)
    assert found["percent_above"] == pytest.approx({"0.5": 400 / 6, "0.6": 300 / 6, "0.7": 200 / 6})
    assert found["mean"] == pytest.approx([0.2, 0, 0, 0])
    assert found["std"] == pytest.approx([np.sqrt(0.02 / 3), 0, 0, 0])
    assert found["mean_with_outliers"] == pytest.approx([0.375, 0, 0, 0])
    assert sum(found["histogram"]) == 6
    assert found["histogram"][27] == 1  # .54 to .56
    shown = {point[0]: outlier for point, outlier in zip(found["scatter"], found["scatter_is_outlier"], strict=True)}
    assert shown == {0.9: True, 0.1: False, 0.2: False, 0.3: False}


def test_a_stage_without_samples():
    found = describe_stage(np.zeros(0), np.zeros((0, 4)), 0.7)
    assert found["mean"] is None
    assert found["percent_above"]["0.5"] is None


def test_every_stage_is_described_on_the_first_images(base, untrained):
    truth = load_annotations(base.data.val)
    found = sample_statistics(untrained, truth, number=2, batch_size=1, workers=0)
    assert found["images"] == 2
    assert [stage["u"] for stage in found["stages"]] == [0.5, 0.6, 0.7]
    assert found == sample_statistics(untrained, truth, number=2, batch_size=1, workers=0)  # the random draw is fixed
