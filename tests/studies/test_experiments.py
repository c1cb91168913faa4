"""What is missing is run, once; what is there is left alone."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cascade_rcnn.engine.interrupt import Interrupted
from cascade_rcnn.engine.training import epoch
from cascade_rcnn.errors import UserError
from cascade_rcnn.files import read_json, write_json
from cascade_rcnn.studies import experiments
from cascade_rcnn.studies.experiments import Study, fingerprint, read_data, run, tasks
from cascade_rcnn.studies.plan import plan
from cascade_rcnn.studies.runs import choose


def study(base, *names: str, seeds: int = 1, **changes) -> Study:
    return Study(base=replace(base, **changes), artifacts=choose(names), seeds=seeds)


def named(found) -> list[str]:
    return [task.run.path.name for task in found]


def test_tables_share_their_trainings(base, tmp_path):
    output = str(tmp_path)
    assert named(tasks(study(base, "table1", output=output))) == ["cascade-seed0", "baseline-seed0", "integral-seed0"]
    assert len(tasks(study(base, "table1", "table2", "table4", output=output))) == 5
    assert len(tasks(study(base, "all", output=output))) == 11
    assert tasks(study(base, "table5", output=output)) == []


def test_tables_take_every_seed_and_figures_the_first(base, tmp_path):
    found = named(tasks(study(base, "table2", "figure1", seeds=2, seed=5, output=str(tmp_path))))
    assert found == ["cascade-seed5", "baseline-seed5", "baseline-60-seed5", "baseline-70-seed5", *found[4:]]
    assert found[4:] == ["cascade-seed6", "baseline-seed6"]


def test_families_add_their_pair_to_table_6(base, tmp_path):
    one = replace(study(base, "table6", output=str(tmp_path)), families={"small_vgg": None})
    assert named(tasks(one)) == [
        f"{name}-seed0" for name in ("cascade", "baseline", "small_vgg-cascade", "small_vgg-baseline")
    ]


def test_a_finished_study_trains_and_measures_nothing(base, finished, monkeypatch):
    for name in ("train", "_measure"):
        monkeypatch.setattr(experiments, name, lambda *_, **__: pytest.fail("nothing was to be done"))
    said = []
    run(study(base, "all"), say=said.append)
    assert said == ["11 runs, 11 of them done"]


def test_what_a_run_leaves_is_enough_without_its_checkpoint(base, finished):
    folder = finished / "runs" / "baseline-seed0"
    record = read_json(folder / "training.json")
    assert record["model"] == "faster_rcnn_resnet18_fpn"
    assert record["data"]["val"]["images"] == 3
    assert record["training_seconds"] > 0
    assert record["size_mib"] > 0
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if "training/" not in path.as_posix()}
    assert {"metrics/iterations3.json", "detections/iterations3.npz", "localization.json", "speed.json"} <= files
    assert not (folder / "training" / "best.safetensors").exists()  # not chosen on the validation set


def test_a_lost_measurement_is_made_again_without_training(base, finished, monkeypatch):
    folder = finished / "runs" / "integral-seed0"
    before = (folder / "metrics" / "stage2.json").read_text()
    (folder / "metrics" / "stage2.json").unlink()
    monkeypatch.setattr(experiments, "train", lambda *_, **__: pytest.fail("it is trained"))
    run(study(base, "figure7"), say=lambda _: None)
    assert (folder / "metrics" / "stage2.json").read_text() == before


def test_without_its_checkpoint_a_measurement_stays_missing(base, finished, tmp_path):
    import shutil

    output = tmp_path / "copy"
    shutil.copytree(finished / "runs", output / "runs", ignore=shutil.ignore_patterns("training"))
    (output / "runs" / "cascade-seed0" / "samples.json").unlink()
    said = []
    run(study(base, "figure2", "table1", output=str(output)), say=said.append)
    assert "samples cannot be measured" in said[-1]


def test_an_interrupted_training_is_resumed(base, tmp_path, monkeypatch):
    """Ctrl-C in the first update; the same call goes on from there and ends where an uninterrupted one does."""
    one = study(base, "figure4", output=str(tmp_path / "a"), epochs=2)
    original = epoch._update

    def press(*arguments, **flags):
        os.kill(os.getpid(), signal.SIGINT)
        return original(*arguments, **flags | {"asked": True})

    with monkeypatch.context() as patch:
        patch.setattr(epoch, "_update", press)
        with pytest.raises(Interrupted, match="the same command continues"):
            run(one, say=lambda _: None)
    (task,) = tasks(one)
    assert task.run.is_begun
    assert not task.run.is_trained
    run(one, say=lambda _: None)
    assert tasks(one)[0].is_done
    other = study(base, "figure4", output=str(tmp_path / "b"), epochs=2)
    run(other, say=lambda _: None)
    figures = [Path(s.base.output) / "runs/cascade-seed0/metrics/stages1-3.json" for s in (one, other)]
    assert figures[0].read_text() == figures[1].read_text()


def test_runs_of_other_settings_are_refused(base, finished):
    with pytest.raises(UserError, match="was trained with epochs 1, not 3; choose another --output"):
        run(study(base, "table1", epochs=3), say=lambda _: None)
    data = replace(base.data, val=base.data.train)
    options = replace(base.options, head_width=8)
    with pytest.raises(UserError, match=r"was trained with options\.head_width 16, not 8"):
        run(study(base, "table1", options=options), say=lambda _: None)
    with pytest.raises(UserError, match="was run on other val data"):
        run(study(base, "table1", data=data), say=lambda _: None)
    with pytest.raises(UserError, match="was trained with epochs 1, not 3"):
        plan(study(base, "table1", epochs=3))


def test_what_does_not_fit_is_found_before_anything_is_trained(base, tmp_path, monkeypatch):
    monkeypatch.setattr(experiments, "train", lambda *_, **__: pytest.fail("nothing was to be trained"))
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "other.pth")
    one = study(base, "table6", output=str(tmp_path))
    for wrong in ("nowhere.pth", "other.pth"):
        with pytest.raises(UserError, match=wrong):
            run(replace(one, families={"small_vgg": str(tmp_path / wrong)}), say=lambda _: None)
    with pytest.raises(UserError, match=r"small_vgg stand in Table 6 alone; ask for table6"):
        run(replace(study(base, "table1", output=str(tmp_path)), families={"small_vgg": None}), say=lambda _: None)
    with pytest.raises(UserError, match="sample-images is -5; give 1 or more"):
        run(replace(one, sample_images=-5), say=lambda _: None)


def test_other_machines_runs_are_welcome(base, finished):
    """Workers, precision and where the files lie are the machine's."""
    changed = {"workers": 1, "precision": "auto", "accelerator": "auto", "save_every": 5}
    assert all(task.is_done for task in tasks(study(base, "all", **changed)))
    run(study(base, "all", **changed), say=lambda _: None)


def test_mistakes(base, tmp_path):
    with pytest.raises(UserError, match="seeds is 0"):
        tasks(study(base, "table1", seeds=0))
    with pytest.raises(UserError, match="one device a run"):
        tasks(study(base, "table1", devices=2))
    with pytest.raises(UserError, match=r"give --data\.train"):
        run(study(base, "table1", data=replace(base.data, val=""), output=str(tmp_path)))


def test_a_fingerprint_is_of_the_content(base, tmp_path):
    train, val = read_data(base)
    assert fingerprint(train) != fingerprint(val)
    write_json(tmp_path / "moved.json", read_json(base.data.val))
    images = Path(base.data.val).parent / "images"
    moved = replace(base.data, val=str(tmp_path / "moved.json"), val_images=str(images))
    assert fingerprint(read_data(replace(base, data=moved))[1]) == fingerprint(val)
