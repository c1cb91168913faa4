"""The folder of a run, also while the run is writing it."""

import pytest

from cascade_rcnn.errors import UserError
from cascade_rcnn.reporting.runs import open_run


def test_the_first_evaluation_counts_once_its_metrics_are_written(tmp_path):
    (tmp_path / "recipe.json").write_text("{}")
    for name in ("last.safetensors", "best.safetensors"):
        (tmp_path / name).touch()
    run = open_run(tmp_path)
    assert (run.checkpoint.name, run.epoch) == ("last.safetensors", None)
    (tmp_path / "best.json").write_text('{"epoch": 3}')
    run = open_run(tmp_path)
    assert (run.checkpoint.name, run.epoch) == ("best.safetensors", 3)


def test_metrics_that_are_missing_are_named(tmp_path):
    (tmp_path / "recipe.json").write_text("{}")
    (tmp_path / "best.safetensors").touch()
    with pytest.raises(UserError, match=r"best\.json: no such file"):
        open_run(tmp_path)
