"""What would run, and for how long."""

from dataclasses import replace

from cascade_rcnn.studies.experiments import Study, read_data, tasks
from cascade_rcnn.studies.plan import Speed, _estimate, plan, probe
from cascade_rcnn.studies.runs import choose


def test_a_finished_study_takes_no_time(base, finished):
    found = plan(Study(base=base, artifacts=choose(["all"])))
    assert len(found) == 11
    assert {(one.state, one.minutes) for one in found} == {("done", 0.0)}


def test_a_probe_leaves_nothing_behind(base, tmp_path):
    (task,) = tasks(Study(base=replace(base, output=str(tmp_path), epochs=3), artifacts=choose(["figure2"])))
    speed = probe(task, *read_data(base))
    assert speed.updates == 3 * 2
    assert speed.seconds_per_update > 0
    assert speed.seconds_per_image > 0
    assert not list(tmp_path.iterdir())


def test_extrapolation_by_hand(base, tmp_path):
    """Ten updates of 6 s and five images of 12 s; then four updates are done; then all."""
    (task,) = tasks(Study(base=replace(base, output=str(tmp_path)), artifacts=choose(["figure2"])))

    def estimate() -> tuple[str, float]:
        one = _estimate(task, Speed(6.0, 10, 12.0), images=5)
        return one.state, round(one.minutes, 6)

    assert estimate() == ("to train", 2.0)
    task.run.training.mkdir(parents=True)
    (task.run.training / "last.state.pt").touch()
    (task.run.training / "train.csv").write_text("step,loss\n1,1\n4,1\n")
    assert estimate() == ("to resume at 40 %", 1.6)
    task.run.write("training.json", {})
    assert estimate() == ("to measure", 1.0)
