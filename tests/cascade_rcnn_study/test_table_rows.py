"""Table rows made from runs."""

import math
import shutil

import numpy as np
import pytest

from cascade_rcnn_study.study_folder import RunFolder, StudyFolder
from cascade_rcnn_study.table_rows import RowBuilder, Source

BASELINE = Source("baseline", "default")
CASCADE = Source("cascade", "stages1-3")


def test_a_row_is_mean_and_standard_deviation_over_seeds(finished):
    folder = StudyFolder(finished)
    aps = [folder.run("cascade", seed).metrics("stages1-3").ap for seed in (0, 1)]
    value = RowBuilder(folder, resamples=2).row(["x"], CASCADE, {}, ("ap",)).ours["ap"]
    assert value.seeds == 2
    assert value.mean == pytest.approx(50 * sum(aps))
    assert value.std == pytest.approx(100 * abs(aps[0] - aps[1]) / math.sqrt(2))


def test_one_seed_has_no_deviation(finished):
    row = RowBuilder(StudyFolder(finished), resamples=2).row(["x"], Source("integral", "default"), {}, ("ap", "size"))
    assert row.ours["ap"].std is row.ours["size"].std is None


def test_times_and_sizes_are_as_measured(finished):
    row = RowBuilder(StudyFolder(finished), resamples=2).row(["x"], BASELINE, {}, ("train", "test", "size"))
    runs = StudyFolder(finished).of("baseline")
    speeds = [run.read("speed.json")["test_seconds_per_image"] for run in runs if run.has("speed")]
    assert row.ours["test"].mean == pytest.approx(sum(speeds) / len(speeds))
    assert row.ours["test"].seeds == len(speeds)
    assert row.ours["size"].mean == pytest.approx(runs[0].read("training.json")["size_mib"])


def test_a_difference_covers_the_seeds_that_both_have(finished):
    folder = StudyFolder(finished)
    source = Source("integral", "default")
    row = RowBuilder(folder, resamples=2).row(["x"], source, {}, ("ap", "size"), BASELINE)
    difference = row.difference
    assert row.pairs == 1
    assert RowBuilder(folder, resamples=2).row(["x"], CASCADE, {}, ("ap",), BASELINE).pairs == 2
    expected = folder.run("integral", 0).metrics("default").ap - folder.run("baseline", 0).metrics("default").ap
    assert difference.keys() == {"ap"}
    assert difference["ap"].mean == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("images", [9, 10])
def test_differences_on_few_images_have_no_interval(finished, images, monkeypatch):
    few = StudyFolder(finished).run("baseline", 0).matches("default")
    truth = np.ones((images, few.truth.shape[1]), np.int64)
    monkeypatch.setattr(RunFolder, "matches", lambda *_: few._replace(truth=truth))
    difference = RowBuilder(StudyFolder(finished), 3).row(["x"], CASCADE, {}, ("ap",), BASELINE).difference["ap"]
    assert difference == pytest.approx((0, math.nan, math.nan) if images < 10 else (0, 0, 0), nan_ok=True)


def test_what_has_not_been_run_is_missing(finished, tmp_path):
    shutil.copytree(finished / "runs" / "baseline-seed0", tmp_path / "runs" / "baseline-seed0")
    rows = RowBuilder(StudyFolder(tmp_path), resamples=2)
    row = rows.row(["x"], CASCADE, {"ap": 1.0}, ("ap",), BASELINE)
    assert (row.ours, row.difference, row.needs) == ({}, {}, "cascade")
    assert rows.row(["x"], BASELINE, {}, ("ap", "size"), BASELINE).ours.keys() == {"ap", "size"}
    assert rows.row(["x"], Source("baseline", "stage7"), {}, ("ap",)).ours == {}
