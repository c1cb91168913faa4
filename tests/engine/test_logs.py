import io
import sys

import pytest

from cascade_rcnn.engine import logs
from cascade_rcnn.engine.logs import MetricLog, ProgressBar, read_csv


def test_rows_come_back_and_a_resumed_log_drops_what_came_later(tmp_path):
    with MetricLog(tmp_path, "train", 0) as log:
        for step in (1, 2, 3):
            log.add(step, {"loss": step / 4})
    assert [row["loss"] for row in read_csv(tmp_path / "train.csv")] == [0.25, 0.5, 0.75]
    with MetricLog(tmp_path, "train", 1) as log:
        log.add(2, {"loss": 9.0})
    assert read_csv(tmp_path / "train.csv") == [{"step": 1.0, "loss": 0.25}, {"step": 2.0, "loss": 9.0}]


def test_a_torn_last_line_is_left_out(tmp_path):
    (tmp_path / "train.csv").write_text("step,loss\n1,0.5\n2")
    assert read_csv(tmp_path / "train.csv") == [{"step": 1.0, "loss": 0.5}]
    assert read_csv(tmp_path / "none.csv") == []


def test_an_inactive_log_writes_nothing(tmp_path):
    with MetricLog(tmp_path, "train", 0, active=False) as log:
        log.add(1, {"loss": 1.0})
    assert list(tmp_path.iterdir()) == []


def test_without_a_terminal_progress_is_a_line_now_and_then(monkeypatch):
    lines = io.StringIO()
    monkeypatch.setattr(sys, "stderr", lines)
    monkeypatch.setattr(ProgressBar, "_SECONDS_BETWEEN_LINES", 0.0)
    with ProgressBar("epoch 1/2", 8, shown=True) as bar:
        bar.advance(2, "loss 1.5")
    assert lines.getvalue().startswith("epoch 1/2  2/8  loss 1.5  ")
    assert "images/s" in lines.getvalue()
    assert lines.getvalue().endswith(" left\n")


def test_the_time_left_is_that_of_all_epochs_and_the_last_image_always_has_a_line(monkeypatch):
    lines = io.StringIO()
    monkeypatch.setattr(sys, "stderr", lines)
    clock = iter([0.0, 10.0, 20.0])
    monkeypatch.setattr(logs.time, "monotonic", lambda: next(clock))
    bar = ProgressBar("epoch 1/3", 8, shown=True, later=16)
    bar.advance(4, "")
    bar.advance(4, "loss 1")
    assert lines.getvalue() == "epoch 1/3  8/8  loss 1  0.4 images/s  40 s left\n"  # 16 more at 0.4 a second


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (99, "99 s"), (130, "2 min"), (9000, "2.5 h")])
def test_durations(seconds, text):
    assert logs._duration(seconds) == text
