import io
import sys

import pytest

from cascade_rcnn.engine import progress
from cascade_rcnn.engine.progress import ProgressBar


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
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    bar = ProgressBar("epoch 1/3", 8, shown=True, later=16)
    bar.advance(4, "")
    bar.advance(4, "loss 1")
    assert lines.getvalue() == "epoch 1/3  8/8  loss 1  0.4 images/s  40 s left\n"  # 16 more images at 0.4 per second


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (99, "99 s"), (130, "2 min"), (9000, "2.5 h")])
def test_durations(seconds, text):
    assert progress._duration(seconds) == text
