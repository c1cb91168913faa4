"""Estimates of a study's duration."""

from dataclasses import replace

import pytest

from cascade_rcnn.data import load_annotations
from cascade_rcnn.errors import UserError
from cascade_rcnn_study.artifacts import choose
from cascade_rcnn_study.study import Study, planned_runs
from cascade_rcnn_study.time_estimates import Speed, estimate, estimate_times, measure_speed


def test_a_finished_study_takes_no_time(base, finished):
    found = estimate_times(Study(base=base, artifacts=choose(["all"])))
    assert len(found) == 11
    assert {(one.state, one.minutes) for one in found} == {("done", 0.0)}


def test_runs_with_other_settings_are_refused(base, finished):
    with pytest.raises(UserError, match="was trained with epochs 1, not 3"):
        estimate_times(Study(base=replace(base, epochs=3), artifacts=choose(["table1"])))


def test_a_trial_leaves_nothing_behind(base, tmp_path):
    study = Study(base=replace(base, output=str(tmp_path), epochs=3), artifacts=choose(["figure2"]))
    (run,) = planned_runs(study)
    speed = measure_speed(run, load_annotations(base.data.val))
    assert speed.updates == 3 * 2
    assert speed.seconds_per_update > 0
    assert speed.seconds_per_image > 0
    assert not list(tmp_path.iterdir())


def test_extrapolation_by_hand(base, tmp_path):
    """Ten updates of 6 s and five images of 12 s: before the start, after four updates, and at the end."""
    (run,) = planned_runs(Study(base=replace(base, output=str(tmp_path)), artifacts=choose(["figure2"])))

    def estimated() -> tuple[str, float]:
        one = estimate(run, Speed(seconds_per_update=6.0, updates=10, seconds_per_image=12.0), images=5)
        return one.state, round(one.minutes, 6)

    assert estimated() == ("to train", 2.0)
    run.folder.training.mkdir(parents=True)
    (run.folder.training / "last.state.pt").touch()
    (run.folder.training / "train.csv").write_text("step,loss\n1,1\n4,1\n")
    assert estimated() == ("to resume at 40 %", 1.6)
    run.folder.write("training.json", {})
    assert estimated() == ("to measure", 1.0)
