"""What runs leave behind."""

import numpy as np
import pytest

from cascade_rcnn.data import load_annotations
from cascade_rcnn.errors import UserError
from cascade_rcnn.evaluation.matches import match
from cascade_rcnn.studies.runs import variants
from cascade_rcnn.studies.store import Store, read_matches, save_matches


def test_matches_survive_the_file(base, tmp_path):
    truth = load_annotations(base.data.val)
    rows = truth.boxes.numpy()[:3]
    images = np.repeat(truth.image_ids.numpy(), np.diff(truth.first.numpy()))[:3]
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


def test_what_is_missing(base, tmp_path):
    known, run = variants(base), Store(tmp_path).run("baseline-60", 3)
    assert run.path == tmp_path / "runs" / "baseline-60-seed3"
    everything = run.missing(known["baseline-60"], {"figure1", "figure5"})
    assert everything == ["default", "with-truth", "on-cascade-inputs2", "localization"]
    assert run.missing(known["baseline-60"], {"figure1"}) == ["default", "localization"]
    assert run.missing(known["cascade"], {"table1"}) == ["stages1-3", "stage1", "stage2", "stage3", "stages1-2"]
    assert "speed" in run.missing(known["cascade"], {"table6"})
    assert "samples" in run.missing(known["cascade"], {"figure2"})
    assert "stage1-on-inputs2" in run.missing(known["cascade"], {"figure6"})
    run.write("metrics/default.json", {})
    assert "default" in run.missing(known["baseline-60"], {"figure1"})  # half of it
    (run.path / "detections").mkdir()
    (run.path / "detections/default.npz").touch()
    assert run.missing(known["baseline-60"], {"figure1"}) == ["localization"]
    assert run.read("localization.json") is run.metrics("with-truth") is run.matches("with-truth") is None


def test_seeds_are_those_that_are_trained(tmp_path):
    store = Store(tmp_path)
    for name, seed in (("cascade", 2), ("cascade", 10), ("cascade-2", 0)):
        store.run(name, seed).write("training.json", {})
    (store.run("cascade", 5).path).mkdir()
    assert store.seeds("cascade") == [2, 10]
    assert [(run.name, run.seed) for run in store.trained()] == [("cascade", 2), ("cascade", 10), ("cascade-2", 0)]
    assert Store(tmp_path / "none").trained() == []
