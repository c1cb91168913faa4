"""All sections of a report evaluate the same detections."""

import pytest

from cascade_rcnn.reporting.breakdown import breakdown
from cascade_rcnn.reporting.calibration import calibration
from cascade_rcnn.reporting.errors import confusion, split
from cascade_rcnn.reporting.images import image_scores
from cascade_rcnn.reporting.precision_recall import precision_recall

TRUTH = [(0, 2 + 12 * (k % 16), 2 + 12 * (k // 16), 10, 10, 1) for k in range(240)]
PERFECT = [(*row[:5], 0.9, row[5]) for row in TRUTH]


@pytest.mark.parametrize(("limit", "counted"), [(5, 5), (100, 100), (300, 240)])
def test_every_section_has_the_same_limit(scene, limit, counted):
    """Precision is 1 up to recall `counted` / 240, and 0 beyond."""
    evidence = scene(TRUTH, PERFECT, images=1, limit=limit)
    ap = (1 + 100 * counted // 240) / 101
    assert evidence.metrics.ap == pytest.approx(ap)
    found = split(evidence, 0.5)
    assert (found.ap, found.counts["missed"]) == (pytest.approx(ap), 240 - counted)
    scores = image_scores(evidence)
    assert (scores.right[0], scores.missed[0]) == (counted, 240 - counted)
    assert evidence.operating.recall == pytest.approx(counted / 240)
    assert confusion(evidence).matrix[0].tolist() == [counted, 0, 240 - counted]
    assert sum(one.detections for one in calibration(evidence).bins) == counted
    assert sum(precision_recall(evidence)[0].precision) / 101 == pytest.approx(ap)
    (size,) = breakdown(evidence).size
    assert (size.ap, size.recall) == (pytest.approx(ap), pytest.approx(counted / 240))
