"""Missing runs are trained and measured once; finished ones are left alone."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from cascade_rcnn.engine.interrupt import Interrupted
from cascade_rcnn.engine.training import epoch
from cascade_rcnn.errors import UserError
from cascade_rcnn.recipes import DataConfig
from cascade_rcnn_study import execution
from cascade_rcnn_study.artifacts import choose
from cascade_rcnn_study.execution import run_study
from cascade_rcnn_study.report import render
from cascade_rcnn_study.study import Study, planned_runs


def study(base, *names: str, **changes) -> Study:
    return Study(base=replace(base, **changes), artifacts=choose(names))


def run_quietly(one: Study) -> list[str]:
    said: list[str] = []
    run_study(one, say=said.append)
    return said


def test_a_finished_study_trains_and_measures_nothing(base, finished, monkeypatch):
    for name in ("train", "_measure"):
        monkeypatch.setattr(execution, name, lambda *_, **__: pytest.fail("nothing was to be done"))
    assert run_quietly(study(base, "all")) == ["11 runs, 11 of them done"]


def test_a_run_leaves_all_that_reports_need(finished):
    folder = finished / "runs" / "baseline-seed0"
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if "training/" not in path.as_posix()}
    assert {"metrics/iterations3.json", "detections/iterations3.npz", "localization.json", "speed.json"} <= files
    assert not (folder / "training" / "best.safetensors").exists()  # no checkpoint is selected on the validation set


def test_a_lost_measurement_is_made_again_without_training(base, finished, monkeypatch):
    folder = finished / "runs" / "integral-seed0"
    before = (folder / "metrics" / "stage2.json").read_text()
    (folder / "metrics" / "stage2.json").unlink()
    monkeypatch.setattr(execution, "train", lambda *_, **__: pytest.fail("it is trained"))
    run_quietly(study(base, "figure7"))
    assert (folder / "metrics" / "stage2.json").read_text() == before


def test_samples_of_more_images_are_measured_without_training(base, finished, tmp_path, monkeypatch):
    shutil.copytree(finished / "runs", tmp_path / "runs")
    samples = tmp_path / "runs" / "cascade-seed0" / "samples.json"
    whole = samples.read_text()
    monkeypatch.setattr(execution, "train", lambda *_, **__: pytest.fail("it is trained"))
    samples.write_text(whole.replace('"images": 4', '"images": 2'))
    one = study(base, "figure4", output=str(tmp_path))
    assert planned_runs(replace(one, sample_images=2))[0].is_done
    run_quietly(one)  # 300 images, of which there are 4
    assert samples.read_text() == whole
    assert planned_runs(one)[0].is_done


def without_checkpoints(finished: Path, output: Path) -> None:
    shutil.copytree(finished / "runs", output / "runs", ignore=shutil.ignore_patterns("training"))


def test_without_its_checkpoint_a_measurement_stays_missing(base, finished, tmp_path):
    without_checkpoints(finished, tmp_path)
    (tmp_path / "runs" / "cascade-seed0" / "samples.json").unlink()
    said = run_quietly(study(base, "figure2", "table1", output=str(tmp_path)))
    assert "samples cannot be measured" in said[-1]


def test_what_a_killed_process_left_is_removed(base, finished, tmp_path, dead):
    without_checkpoints(finished, tmp_path)
    run = tmp_path / "runs" / "cascade-seed0"
    (run / "samples.json").unlink()
    left = [run / f".samples.json.{dead}.tmp", run / "metrics" / f".default.json.{dead}.tmp"]
    for path in left:
        path.touch()
    run_quietly(study(base, "figure2", output=str(tmp_path)))
    assert not any(path.exists() for path in left)


def test_a_run_on_which_another_process_is_working_is_refused(base, finished, tmp_path):
    without_checkpoints(finished, tmp_path)
    run = tmp_path / "runs" / "cascade-seed0"
    (run / "samples.json").unlink()
    code = "import sys; from pathlib import Path; from cascade_rcnn.locks import locked\n"
    code += "with locked(Path(sys.argv[1])): print(flush=True), input()"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code, str(run)], stdin=pipe, stdout=pipe, text=True) as other:
        assert other.stdout.readline() == "\n"
        with pytest.raises(UserError, match=rf"cascade-seed0: another process \({other.pid} on"):
            run_quietly(study(base, "figure2", output=str(tmp_path)))
        other.communicate("\n")


def test_without_the_cascade_s_checkpoint_only_its_boxes_are_missing(base, finished, tmp_path):
    without_checkpoints(finished, tmp_path)
    single = tmp_path / "runs" / "baseline-60-seed0"
    shutil.copytree(finished / "runs" / "baseline-60-seed0" / "training", single / "training")
    for name in ("default", "on-cascade-inputs2"):
        (single / "metrics" / f"{name}.json").unlink()
    said = run_quietly(study(base, "figure5", output=str(tmp_path)))
    assert "Figure 5 (a) will lack the curves on the cascade's boxes" in said[-1]
    assert (single / "metrics" / "default.json").is_file()
    assert not (single / "metrics" / "on-cascade-inputs2.json").exists()


def test_an_interrupted_training_run_is_resumed(base, tmp_path, monkeypatch):
    """Ctrl-C during the first update: the same call resumes and ends exactly like an uninterrupted run."""
    one = study(base, "figure4", output=str(tmp_path / "a"), epochs=2)
    original = epoch._update

    def press(*arguments, **flags):
        os.kill(os.getpid(), signal.SIGINT)
        return original(*arguments, **flags | {"asked": True})

    with monkeypatch.context() as patch:
        patch.setattr(epoch, "_update", press)
        with pytest.raises(Interrupted, match="run the same command to continue"):
            run_quietly(one)
    (planned,) = planned_runs(one)
    assert planned.folder.is_begun
    assert not planned.folder.is_trained
    run_quietly(one)
    assert planned_runs(one)[0].is_done
    other = study(base, "figure4", output=str(tmp_path / "b"), epochs=2)
    run_quietly(other)
    metrics = [Path(s.base.output) / "runs/cascade-seed0/metrics/stages1-3.json" for s in (one, other)]
    assert metrics[0].read_text() == metrics[1].read_text()


def test_what_does_not_fit_is_found_before_anything_is_trained(base, tmp_path, monkeypatch):
    monkeypatch.setattr(execution, "train", lambda *_, **__: pytest.fail("nothing was to be trained"))
    one = study(base, "table6", output=str(tmp_path))
    with pytest.raises(ValueError, match=r"nowhere\.pth"):
        run_quietly(replace(one, families={"small_vgg": str(tmp_path / "nowhere.pth")}))


@pytest.mark.slow
def test_two_devices_at_once_find_what_one_finds(base, finished, tmp_path):
    one = study(base, "table6", "figure4", "figure5", output=str(tmp_path), devices=2)
    said = run_quietly(one)
    assert "(device 0, log " in said[1]
    assert "(device 1, log " in said[2]
    assert all(run.is_done for run in planned_runs(one))
    files = [path for path in (tmp_path / "runs").rglob("*") if path.parent.name in ("metrics", "detections")]
    files += (tmp_path / "runs").rglob("samples.json")
    assert len(files) > 12
    for path in files:
        assert path.read_bytes() == (finished / path.relative_to(tmp_path)).read_bytes(), path
    assert (tmp_path / "runs/cascade-seed0/speed.json").is_file()
    assert "epoch 1/1" in (tmp_path / "runs/baseline-60-seed0/log.txt").read_text()
    assert run_quietly(study(base, "table6", output=str(tmp_path))) == [
        "2 runs, 2 of them done"
    ]  # for any number of devices


def test_masks_need_a_pyramid_and_data_with_masks(base, tmp_path):
    with pytest.raises(UserError, match="table-masks: masks need a feature pyramid, which cascade_rcnn_vgg16"):
        planned_runs(study(base, "table-masks", model="cascade_rcnn_vgg16"))
    with pytest.raises(UserError, match="none of its 25 objects has a mask to learn from"):
        run_quietly(study(base, "table-masks", output=str(tmp_path)))


@pytest.mark.slow
def test_the_table_of_masks_is_trained_and_measured(base, tmp_path):
    data = {}
    for split in ("train", "val"):
        content = json.loads(Path(getattr(base.data, split)).read_text())
        for row in content["annotations"]:
            x, y, w, h = row["bbox"]
            row["segmentation"] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
        data[split] = tmp_path / f"{split}.json"
        data[split].write_text(json.dumps(content))
    images = str(Path(base.data.train).parent / "images")
    config = DataConfig(train=str(data["train"]), val=str(data["val"]), train_images=images)
    one = study(base, "table-masks", data=config, output=str(tmp_path / "study"))
    assert run_quietly(one)[0] == "4 runs, 0 of them done"
    page = render(Path(one.base.output), ["table-masks"], resamples=2)
    text = (page.parent / "report.md").read_text()
    assert "## Boxes and masks by number of stages" in text
    assert "missing" not in text.lower()
    for stages in (1, 4):
        assert one.folder.run(f"masks-{stages}", 0).metrics(f"stages1-{stages}").masks is not None
