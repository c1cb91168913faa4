"""Checks made before any training starts."""

from dataclasses import replace

import pytest
import torch

from cascade_rcnn.errors import UserError
from cascade_rcnn_study.artifacts import choose
from cascade_rcnn_study.preparation import prepare_study
from cascade_rcnn_study.study import Study


def study(base, *names: str, **changes) -> Study:
    return Study(base=replace(base, **changes), artifacts=choose(names))


def test_runs_and_data_are_ready(base, finished):
    prepared = prepare_study(study(base, "all", workers=1, precision="auto"))
    assert all(run.is_done for run in prepared.runs)
    assert (len(prepared.train_set), len(prepared.val)) == (4, 3)


def test_weights_that_do_not_fit_are_refused(base, tmp_path):
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "other.pth")
    one = study(base, "table6", output=str(tmp_path))
    for wrong in ("nowhere.pth", "other.pth"):
        with pytest.raises(UserError, match=wrong):
            prepare_study(replace(one, families={"small_vgg": str(tmp_path / wrong)}))


def test_runs_with_other_settings_or_data_are_refused(base, finished):
    with pytest.raises(UserError, match="was trained with epochs 1, not 3; choose another --output"):
        prepare_study(study(base, "table1", epochs=3))
    with pytest.raises(UserError, match=r"was trained with options\.head_width 16, not 8"):
        prepare_study(study(base, "table1", options=replace(base.options, head_width=8)))
    with pytest.raises(UserError, match="trained with other val data"):
        prepare_study(study(base, "table1", data=replace(base.data, val=base.data.train)))


def test_new_runs_that_the_report_could_not_compare_with_finished_ones_are_refused(base, finished):
    with pytest.raises(UserError, match=r"baseline-seed0 and .*-seed7 differ in epochs; use a separate folder"):
        prepare_study(study(base, "table1", seed=7, epochs=3))
    with pytest.raises(UserError, match=r"differ in val data"):
        prepare_study(study(base, "table1", seed=7, data=replace(base.data, val=base.data.train)))
    prepare_study(study(base, "table1", seed=7))


@pytest.mark.parametrize("lacking", ["train", "val"])
def test_both_sets_are_needed(base, tmp_path, lacking):
    data = replace(base.data, **{lacking: ""})
    with pytest.raises(UserError, match=r"give --data\.train ANNOTATIONS and --data\.val ANNOTATIONS"):
        prepare_study(study(base, "table1", data=data, output=str(tmp_path)))
