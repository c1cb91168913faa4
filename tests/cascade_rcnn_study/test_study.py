"""The training runs that a study needs."""

from dataclasses import replace

import pytest

from cascade_rcnn.errors import UserError
from cascade_rcnn_study.artifacts import choose
from cascade_rcnn_study.study import Study, planned_runs


def named(base, *names: str, **changes) -> list[str]:
    seeds = changes.pop("seeds", 1)
    study = Study(base=replace(base, **changes), artifacts=choose(names), seeds=seeds)
    return [run.folder.path.name for run in planned_runs(study)]


def test_tables_share_their_runs(base, tmp_path):
    output = str(tmp_path)
    assert named(base, "table1", output=output) == ["cascade-seed0", "baseline-seed0", "integral-seed0"]
    assert len(named(base, "table1", "table2", "table4", output=output)) == 5
    assert len(named(base, "all", output=output)) == 11
    assert named(base, "table5", output=output) == []


def test_tables_take_every_seed_and_figures_the_first(base, tmp_path):
    found = named(base, "table2", "figure1", seeds=2, seed=5, output=str(tmp_path))
    assert found == ["cascade-seed5", "baseline-seed5", "baseline-60-seed5", "baseline-70-seed5", *found[4:]]
    assert found[4:] == ["cascade-seed6", "baseline-seed6"]


def test_families_add_their_pair_to_table_6(base, tmp_path):
    study = Study(base=replace(base, output=str(tmp_path)), artifacts=choose(["table6"]), families={"small_vgg": None})
    assert [run.folder.path.name for run in planned_runs(study)] == [
        f"{name}-seed0" for name in ("cascade", "baseline", "small_vgg-cascade", "small_vgg-baseline")
    ]


def test_a_run_lacks_what_has_not_been_measured(base, tmp_path):
    study = Study(base=replace(base, output=str(tmp_path)), artifacts=choose(["figure7", "table1"]))
    cascade = planned_runs(study)[0]
    assert [setting.name for setting in cascade.settings] == ["stages1-3", "stage1", "stage2", "stage3", "stages1-2"]
    assert cascade.localization_steps == 3
    cascade.folder.write("localization.json", {})
    for name in ("stage1", "stages1-3"):
        cascade.folder.write(f"metrics/{name}.json", {})
    cascade.folder.detections("stage1").parent.mkdir()
    cascade.folder.detections("stage1").touch()  # detections of the other setting are missing
    cascade = planned_runs(study)[0]
    assert [setting.name for setting in cascade.settings] == ["stages1-3", "stage2", "stage3", "stages1-2"]
    assert cascade.localization_steps == 0
    assert not cascade.is_done


def test_runs_of_other_machines_are_reused(base, finished):
    """Workers, precision and file locations depend on the machine."""
    changes = {"workers": 1, "precision": "auto", "accelerator": "auto", "save_every": 5}
    study = Study(base=replace(base, **changes), artifacts=choose(["all"]))
    assert all(run.is_done for run in planned_runs(study))


def test_mistakes(base):
    with pytest.raises(UserError, match="seeds is 0"):
        named(base, "table1", seeds=0)
    with pytest.raises(UserError, match="devices is 0; give 1 or more"):
        named(base, "table1", devices=0)
    study = Study(base=base, artifacts=choose(["table1"]), families={"small_vgg": None})
    with pytest.raises(UserError, match=r"small_vgg appear only in Table 6; add table6"):
        planned_runs(study)
    with pytest.raises(UserError, match="sample-images is -5; give 1 or more"):
        planned_runs(replace(study, sample_images=-5))
