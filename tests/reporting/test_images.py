"""The score of each image, by hand, and the resulting order."""

import numpy as np
import pytest

from cascade_rcnn.reporting.images import best, image_scores, worst


def test_scores_by_hand(scene):
    truth = [(0, 10, 10, 40, 40, 1), (0, 100, 100, 40, 40, 1), (1, 10, 10, 40, 40, 1)]
    found = [
        (0, 10, 10, 40, 40, 0.9, 1),  # correct at every IoU; the other object of this image is missed
        (1, 18, 10, 40, 40, 0.9, 1),  # IoU 32/48 = .67: correct at .5, .55, .6 and .65
        (1, 100, 100, 40, 40, 0.4, 1),  # below the threshold
        (2, 100, 100, 40, 40, 0.9, 1),  # a false positive
    ]
    scores = image_scores(scene(truth, found, images=4))
    assert scores.score[:3] == pytest.approx([2 / 3, 0.4, 0])
    assert np.isnan(scores.score[3])
    assert scores.right.tolist() == [1, 1, 0, 0]
    assert scores.wrong.tolist() == [0, 0, 1, 0]
    assert scores.missed.tolist() == [1, 0, 0, 0]
    assert worst(scores, 5) == [2, 0]  # the second has no error at IoU .5
    assert best(scores, 1) == [0]
