"""Files of matched detections."""

import numpy as np
import pytest

from cascade_rcnn.data import load_annotations
from cascade_rcnn.errors import UserError
from cascade_rcnn.evaluation.matches import match
from cascade_rcnn_study.match_files import read_matches, save_matches


def test_matches_survive_the_file(base, tmp_path):
    truth = load_annotations(base.data.val)
    rows = truth.boxes.numpy()[:3]
    images = truth.image_ids[truth.owners].numpy()[:3]
    category = np.array([c.id for c in truth.categories])[truth.labels.numpy()[:3] - 1]
    detections = np.column_stack([images, rows + 1, [0.5, 0.25, 0.75], category])
    save_matches(tmp_path / "a.npz", truth, detections)
    expected = match(truth, detections)
    for one, other in zip(read_matches(tmp_path / "a.npz"), expected, strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 torn"])
def test_a_damaged_file_is_named(content, tmp_path):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.npz: not readable"):
        read_matches(tmp_path / "a.npz")
