"""Curves from the files of a training run."""

from pathlib import Path

import pytest

from cascade_rcnn.errors import UserError
from cascade_rcnn.reporting.curves import read_curves


def write_run(folder: Path, updates: int) -> None:
    rows = [f"{k},{1 + (k - 1) // 10},0.1,{100 / k},{60 / k},{40 / k}" for k in range(1, updates + 1)]
    head = "step,epoch,lr,loss,loss_classifier_stage1,loss_box_reg_stage1"
    (folder / "train.csv").write_text("\n".join([head, *rows, ""]))
    (folder / "evaluation.csv").write_text("step,ap,ap75\n10,0.2,0.1\n20,0.3,0.25\n")


def test_a_short_training_is_kept_whole(tmp_path):
    write_run(tmp_path, 20)
    curves = read_curves(tmp_path)
    assert curves is not None
    assert curves.steps == list(range(1, 21))
    assert (curves.epochs, curves.updates) == (2, 20)
    assert list(curves.losses) == ["loss", "loss_classifier_stage1", "loss_box_reg_stage1"]
    assert curves.losses["loss"][1] == pytest.approx((100 + 50) / 2)  # a running mean
    assert [tuple(one) for one in curves.evaluated] == [(10, 1, 0.2, 0.1), (20, 2, 0.3, 0.25)]


def test_a_long_one_is_thinned_out_but_keeps_its_ends(tmp_path):
    write_run(tmp_path, 1000)
    curves = read_curves(tmp_path)
    assert curves is not None
    assert (len(curves.steps), curves.steps[0], curves.steps[-1]) == (240, 1, 1000)


def test_nothing_to_read(tmp_path):
    assert read_curves(tmp_path) is None
    (tmp_path / "train.csv").write_text("step,loss\n1,x\n")
    with pytest.raises(UserError, match="line 2"):
        read_curves(tmp_path)
