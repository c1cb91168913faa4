import shutil

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cascade_rcnn.engine.training.metric_log import MetricLog, read_csv
from cascade_rcnn.errors import UserError


def test_rows_come_back_and_a_resumed_log_drops_what_came_later(tmp_path):
    with MetricLog(tmp_path, "train", 0) as log:
        for step in (1, 2, 3):
            log.add(step, {"loss": step / 4})
    assert [row["loss"] for row in read_csv(tmp_path / "train.csv")] == [0.25, 0.5, 0.75]
    with MetricLog(tmp_path, "train", 1) as log:
        log.add(2, {"loss": 9.0})
    assert read_csv(tmp_path / "train.csv") == [{"step": 1.0, "loss": 0.25}, {"step": 2.0, "loss": 9.0}]


@pytest.mark.parametrize("torn", ["2", "2,0.", "2,0.25", "\0\0"])  # 0.25 may have been 0.257
def test_a_torn_last_line_is_left_out(tmp_path, torn):
    (tmp_path / "train.csv").write_text("step,loss\n1,0.5\n" + torn)
    assert read_csv(tmp_path / "train.csv") == [{"step": 1.0, "loss": 0.5}]
    assert read_csv(tmp_path / "none.csv") == []


def test_an_inactive_log_writes_nothing(tmp_path):
    with MetricLog(tmp_path, "train", 0, active=False) as log:
        log.add(1, {"loss": 1.0})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("line", [b"2,x\n", b"2,0.5,7\n", b"2\n", b"\xff\xfe,1\n", b"\0\0\0\n"])
def test_a_damaged_line_is_named_unless_it_comes_after_what_is_kept(tmp_path, line):
    path = tmp_path / "train.csv"
    path.write_bytes(b"step,loss\n1,0.5\n" + line + b"3,0.25\n")
    for read in (lambda: read_csv(path), lambda: MetricLog(tmp_path, "train", 3)):
        with pytest.raises(UserError, match=r"train\.csv: line 3 is not a row of 2 numbers") as error:
            read()
        assert "\n" not in str(error.value)
    with MetricLog(tmp_path, "train", 1) as log:
        log.add(2, {"loss": 0.125})
    assert [row["loss"] for row in read_csv(path)] == [0.5, 0.125]


def test_a_table_without_steps_is_named(tmp_path):
    (tmp_path / "train.csv").write_bytes(b"\x93NUMPY\n1,2\n")
    with pytest.raises(UserError, match="line 1 lacks the names of the columns"):
        MetricLog(tmp_path, "train", 1)


def curve(folder, tag: str) -> list[tuple[int, float]]:
    """Return a curve as TensorBoard's own reader finds it."""
    reader = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    reader.Reload()
    return [(point.step, point.value) for point in reader.Scalars(tag)]


def test_tensorboard_shows_both_curves_after_a_resume(tmp_path):
    """Both logs are open at once, as in training; the second attempt starts after step 2, which was evaluated."""
    for first, last in ((0, 4), (2, 6)):
        with MetricLog(tmp_path, "train", first) as train, MetricLog(tmp_path, "evaluation", first) as scores:
            for step in range(first + 1, last + 1):
                train.add(step, {"loss": 8.0 * first + step})
                if step % 2 == 0:
                    scores.add(step, {"ap": step / 8})
    board = tmp_path / "tensorboard"
    assert curve(board / "train", "train/loss") == [(1, 1.0), (2, 2.0), (3, 19.0), (4, 20.0), (5, 21.0), (6, 22.0)]
    assert curve(board / "evaluation", "evaluation/ap") == [(2, 0.25), (4, 0.5), (6, 0.75)]


def test_rows_are_with_tensorboard_at_once(tmp_path):
    with MetricLog(tmp_path, "train", 0) as log:
        log.add(1, {"loss": 0.5})
        log.sync()
        assert curve(tmp_path / "tensorboard" / "train", "train/loss") == [(1, 0.5)]


def test_a_folder_that_vanishes_is_one_line(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    with MetricLog(folder, "train", 0) as log:
        log.add(1, {"loss": 0.5})
        shutil.rmtree(folder)
        with pytest.raises(UserError, match=r"train\.csv: cannot be written \(No such file"):
            log.add(2, {"loss": 0.5})
