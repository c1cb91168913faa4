import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from cascade_rcnn.engine import checkpoint
from cascade_rcnn.engine.checkpoint import load, load_state
from cascade_rcnn.engine.interrupt import Interrupted
from cascade_rcnn.engine.training import launch, optim
from cascade_rcnn.engine.training.metric_log import read_csv
from cascade_rcnn.engine.training.prepare import prepare
from cascade_rcnn.engine.training.train import train
from cascade_rcnn.errors import UserError
from cascade_rcnn.models.detector import Detector
from cascade_rcnn.recipes import DataConfig, OptimizerConfig


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load(folder / "last.safetensors").state_dict()


def assert_identical(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=0)


def interrupt_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Send a real SIGINT to this process before update `step`."""
    rate = optim.learning_rate

    def with_signal(config, current, total, images):
        if current == step:
            os.kill(os.getpid(), signal.SIGINT)
        return rate(config, current, total, images)

    monkeypatch.setattr(optim, "learning_rate", with_signal)


def test_a_training_leaves_models_logs_and_results(recipe):
    output = train(recipe)
    results = json.loads((output / "results.json").read_text())
    assert results["updates"] == 12  # 13 images in batches of 2, with a last batch of one dropped: 6 updates per epoch
    assert (results["images"], results["training_images"]) == (24, 13)
    assert results["images_per_second"] > 0
    assert results["peak_memory_mb"] > 0
    assert results["machine"]["torch"] == torch.__version__
    steps = read_csv(output / "train.csv")
    assert [row["step"] for row in steps] == list(range(1, 13))
    parts = [name for name in steps[0] if name.startswith("loss_")]
    assert len(parts) == 2 + 3 * 2  # the RPN's two losses, and two per stage
    assert steps[0]["loss"] == pytest.approx(sum(steps[0][name] for name in parts), rel=1e-5)
    assert len(read_csv(output / "evaluation.csv")) == 2
    assert list((output / "tensorboard" / "train").glob("events*"))
    best = json.loads((output / "best.json").read_text())
    assert 0 <= best["ap"] <= 1
    assert best["images"] == 5
    assert next(c.name for c in load(output / "best.safetensors").config.categories) == "ellipse"


@pytest.mark.parametrize(
    ("accumulate", "step", "updates"),
    # within the first epoch, at its very end, within the second, and before an incomplete update
    [(1, 3, 12), *(pytest.param(1, step, 12, marks=pytest.mark.slow) for step in (6, 8)), (4, 0, 4)],
)
def test_resumed_weights_equal_uninterrupted_ones_to_the_bit(recipe, monkeypatch, tmp_path, accumulate, step, updates):
    recipe = replace(recipe, ema=0.9, accumulate=accumulate)
    whole = weights(train(replace(recipe, output=str(tmp_path / "whole"))))
    with monkeypatch.context() as patch:
        interrupt_at(patch, step)
        with pytest.raises(Interrupted, match=r"--resume"):
            train(recipe)
    assert load_state(Path(recipe.output) / "last.state.pt")["position"]["step"] == step + 1
    output = train(recipe, resume=True)
    assert_identical(weights(output), whole)
    assert [row["step"] for row in read_csv(output / "train.csv")] == list(range(1, updates + 1))


def test_accumulation_makes_fewer_updates_of_more_images(recipe):
    output = train(replace(recipe, accumulate=4, epochs=1))
    rows = read_csv(output / "train.csv")
    assert len(rows) == 2  # 6 batches: 4, then the remaining 2
    assert rows[0]["lr"] == pytest.approx(1e-3 * 8 / 2 * 0.001, rel=1e-3)  # 8 images; the warm-up's first step


def test_the_loss_of_an_update_is_the_mean_of_its_batches(recipe, tmp_path):
    still = replace(recipe, epochs=1, optimizer=replace(recipe.optimizer, lr=0.0))
    losses = []
    for accumulate in (1, 4):
        output = train(replace(still, accumulate=accumulate, output=str(tmp_path / str(accumulate))))
        losses.append([row["loss"] for row in read_csv(output / "train.csv")])
    each, grouped = losses
    assert grouped == pytest.approx([sum(each[:4]) / 4, sum(each[4:]) / 2], rel=1e-4)


def test_a_loss_that_is_not_finite_stops_names_the_images_and_leaves_the_last_good_state(recipe, monkeypatch):
    output = Path(recipe.output)
    rate = optim.learning_rate
    monkeypatch.setattr(optim, "learning_rate", lambda c, step, t, i: 1e30 if step == 7 else rate(c, step, t, i))
    with pytest.raises(UserError, match=r"not finite at update 9 .*train/\d+\.png") as error:
        train(recipe)
    assert "\n" not in str(error.value)
    assert all(value.isfinite().all() for value in weights(output).values() if value.is_floating_point())
    assert load_state(output / "last.state.pt")["position"]["epoch"] == 1


@pytest.mark.parametrize(("precision", "update"), [("fp32", 1), ("fp16", 3)])
def test_gradients_that_are_never_finite_stop_the_run(recipe, monkeypatch, precision, update):
    """With fp16, updates are skipped while the scale of the gradients falls: from 2 to 1, then below."""
    losses = Detector.losses

    def odd(self: Detector, *given):
        weight = next(one for one in self.parameters() if one.requires_grad)
        return losses(self, *given) | {"loss_odd": (0 * weight.sum()).sqrt()}  # 0, with the gradient 0 * inf

    monkeypatch.setattr(Detector, "losses", odd)
    monkeypatch.setattr(launch, "_kind", lambda _: "cpu")  # which may not train with fp16 otherwise
    monkeypatch.setattr(torch.amp, "GradScaler", partial(torch.amp.GradScaler, init_scale=2.0))
    with pytest.raises(UserError, match=f"gradient is not finite at update {update} "):
        train(replace(recipe, precision=precision))


def own_data(recipe, folder: Path):
    """Return the recipe with a copy of its data that a test may damage."""
    shutil.copytree(Path(recipe.data.train).parent, folder)
    return replace(recipe, data=replace(recipe.data, train=str(folder / "train.json"), val=str(folder / "val.json")))


def test_an_epoch_is_saved_before_it_is_evaluated_and_the_evaluation_is_made_up_for(recipe, monkeypatch, tmp_path):
    whole = train(replace(recipe, output=str(tmp_path / "whole")))
    recipe = own_data(recipe, tmp_path / "data")
    images, output = tmp_path / "data" / "images" / "val", Path(recipe.output)
    rate = optim.learning_rate

    def vanish(config, step, total, size):
        if step == 8:  # in the second epoch, after all checks
            images.rename(tmp_path / "away")
        return rate(config, step, total, size)

    with monkeypatch.context() as patch:
        patch.setattr(optim, "learning_rate", vanish)
        with pytest.raises(UserError, match=r"no such image.*; the epoch is saved, and --resume repeats its eval"):
            train(recipe)
    position = load_state(output / "last.state.pt")["position"]
    assert (position["epoch"], position["step"], position["evaluated"]) == (2, 12, 6)
    assert len(read_csv(output / "evaluation.csv")) == 1
    (tmp_path / "away").rename(images)
    train(recipe, resume=True)
    assert (output / "evaluation.csv").read_text() == (whole / "evaluation.csv").read_text()
    assert_identical(weights(output), weights(whole))
    best = [load(folder / "best.safetensors").state_dict() for folder in (output, whole)]
    assert_identical(*best)


class Killed(BaseException):
    """A simulated kill: nothing catches it, and nothing cleans up after it."""


def die_at(monkeypatch: pytest.MonkeyPatch, name: str, number: int, when: str) -> None:
    """Die before or after the `number`-th renaming to `name`."""
    rename, seen = os.replace, []

    def dying(source, target):
        seen.extend([target] if Path(target).name == name else [])
        last = len(seen) == number and Path(target).name == name
        if not last or when == "after":
            rename(source, target)
        if last:
            monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)
            raise Killed

    monkeypatch.setattr(os, "replace", dying)


@pytest.mark.parametrize(
    ("name", "when"),
    [
        pytest.param("best.safetensors", "after", marks=pytest.mark.slow),
        ("best.json", "before"),
        ("last.state.pt", "before"),
        pytest.param("previous.state.pt", "after", marks=pytest.mark.slow),
    ],
)
def test_a_kill_around_any_renaming_changes_nothing_in_the_end(recipe, monkeypatch, tmp_path, name, when):
    """The process dies at the last renaming to `name` before results.json, leaving its temporary file behind."""
    recipe = replace(recipe, save_every=3, epochs=1)
    whole, output = train(replace(recipe, output=str(tmp_path / "whole"))), Path(recipe.output)
    with monkeypatch.context() as patch:
        die_at(patch, name, 1 if name.startswith("best") else 2, when)
        with pytest.raises(Killed):
            train(recipe)
    assert bool(list(output.glob(".*.tmp"))) == (name != "best.safetensors")  # which had been renamed
    train(recipe, resume=bool(list(output.glob("*.state.pt"))))
    assert not list(output.glob(".*.tmp"))
    assert (output / "evaluation.csv").read_text() == (whole / "evaluation.csv").read_text()
    assert [row["loss"] for row in read_csv(output / "train.csv")] == [
        row["loss"] for row in read_csv(whole / "train.csv")
    ]
    assert json.loads((output / "best.json").read_text()) == json.loads((whole / "best.json").read_text())
    for model in ("best.safetensors", "last.safetensors"):
        assert_identical(load(output / model).state_dict(), load(whole / model).state_dict())


def test_a_training_resumes_where_its_data_has_moved_but_not_on_other_data(recipe, monkeypatch, tmp_path):
    recipe = own_data(recipe, tmp_path / "here")
    with monkeypatch.context() as patch:
        interrupt_at(patch, 3)
        with pytest.raises(Interrupted):
            train(recipe)
    (tmp_path / "here").rename(tmp_path / "there")
    there = tmp_path / "there" / "train.json"
    moved = replace(recipe, data=replace(recipe.data, train=str(there), val=str(there.with_name("val.json"))))
    good = there.read_text()
    truth = json.loads(good)
    truth["annotations"][0]["bbox"][2] += 1
    there.write_text(json.dumps(truth))
    with pytest.raises(UserError, match="the training boxes have changed since this run started"):
        train(moved, resume=True)
    there.write_text(good)
    output = train(moved, resume=True)
    assert json.loads((output / "recipe.json").read_text())["data"]["train"] == str(there)
    with pytest.raises(
        UserError,
        match=r"started with augmentation horizontal_flip color, not horizontal_flip:prob",
    ):
        train(replace(moved, data=replace(moved.data, flip=0.25)), resume=True)


def test_files_of_a_training_that_are_damaged_are_one_line_each(recipe):
    output = train(replace(recipe, epochs=1))
    recipe = replace(recipe, epochs=1)
    for name, content, message in (
        ("recipe.json", b"[1, 2]", r"recipe\.json: not a recipe"),
        ("recipe.json", b"\xff\xfe", r"recipe\.json: not a JSON file"),
        ("train.csv", b"step,loss\n1,\xff\xfe\n", r"train\.csv: line 2 is not a row"),
    ):
        good = (output / name).read_bytes()
        (output / name).write_bytes(content)
        with pytest.raises(UserError, match=message) as error:
            train(recipe, resume=True)
        assert "\n" not in str(error.value)
        (output / name).write_bytes(good)
    state = load_state(output / "last.state.pt")
    (output / "previous.state.pt").unlink()
    checkpoint.save_state(output / "last.state.pt", state | {"model": {"nothing": torch.zeros(1)}})
    with pytest.raises(UserError, match=r"last\.state\.pt: does not match this run") as error:
        train(recipe, resume=True)
    assert "\n" not in str(error.value)


def test_another_training_is_never_overwritten(recipe):
    train(replace(recipe, epochs=1))
    with pytest.raises(UserError, match="add --resume"):
        train(recipe)
    with pytest.raises(UserError, match=r"started with epochs 1, not 2; .*--init .*last\.safetensors"):
        train(recipe, resume=True)
    with pytest.raises(UserError, match="no training run to resume"):
        train(replace(recipe, output=recipe.output + "-other"), resume=True)


def test_fine_tuning_keeps_what_fits_and_initialises_other_classes(recipe, tmp_path):
    first = train(replace(recipe, epochs=1))
    truth = json.loads(Path(recipe.data.train).read_text())
    truth["categories"].append({"id": 9, "name": "hexagon"})
    other = tmp_path / "more.json"
    other.write_text(json.dumps(truth))
    data = replace(recipe.data, train=str(other), train_images=str(Path(recipe.data.train).parent / "images"), val="")
    start = replace(recipe, data=data, init=str(first / "last.safetensors"), output=str(tmp_path / "tuned"))
    still = replace(recipe.optimizer, lr=0.0, weight_decay=0.0)
    tuned = train(replace(start, epochs=1, optimizer=still, model="as the checkpoint's", weights_backbone="imagenet"))
    before, after = weights(first), weights(tuned)
    assert torch.equal(before["pyramid.output.0.weight"], after["pyramid.output.0.weight"])
    assert after["roi_heads.heads.0.classifier.weight"].shape[0] == 6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"precision": "fp16"}, "fp16 needs a GPU"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**32}, "seed is 4294967296; give 0 to 4294967295"),
        ({"data": DataConfig(train="x", max_megapixels=math.nan)}, r"data\.max_megapixels is nan; give 0 or more"),
        ({"ema": 1.5}, "ema is 1.5"),
        ({"save_every": -1}, "save_every is -1"),
        ({"model": "cascade_rcnn_resnet18"}, "did you mean 'cascade_rcnn_resnet18_fpn'"),
        ({"optimizer": OptimizerConfig(lr=math.nan)}, r"optimizer\.lr is nan; give 0 or more"),
        ({"optimizer": OptimizerConfig(lr=math.inf)}, r"optimizer\.lr is inf; give a finite number, 0 or more"),
        ({"optimizer": OptimizerConfig(lr_batch=0)}, r"optimizer\.lr_batch is 0; give 1 or more"),
        ({"optimizer": OptimizerConfig(momentum=1)}, r"optimizer\.momentum is 1; give 0 or more and less than 1"),
        ({"optimizer": OptimizerConfig(momentum=math.nan)}, r"optimizer\.momentum is nan; give 0 or more"),
        ({"optimizer": OptimizerConfig(weight_decay=math.nan)}, r"optimizer\.weight_decay is nan"),
        ({"optimizer": OptimizerConfig(warmup_factor=-1)}, r"optimizer\.warmup_factor is -1"),
        ({"optimizer": OptimizerConfig(clip_norm=math.nan)}, r"optimizer\.clip_norm is nan; give more than 0"),
        ({"optimizer": OptimizerConfig(drops=(0.5, math.nan))}, r"optimizer\.drops is nan; give 0 to 1"),
        ({"data": DataConfig(train="x", flip=math.nan)}, r"augmentation horizontal_flip: probability is nan; give 0"),
        (
            {"data": DataConfig(train="x", photometric=7)},
            "augmentation color: probability is 7; give 0 to 1",
        ),
        ({"data": DataConfig(train="x", repeat_rare=2)}, r"data\.repeat_rare is 2; give 0 to 1"),
    ],
)
def test_mistakes_in_a_recipe_are_one_line(recipe, changes, message):
    with pytest.raises(UserError, match=message) as error:
        train(replace(recipe, **changes))
    assert "\n" not in str(error.value)


WORKER = """
import dataclasses, sys, torch, torch.distributed as dist
from cascade_rcnn.config import ModelOptions
from cascade_rcnn.engine.training.train import train
from cascade_rcnn.recipes import RECIPES, DataConfig

data, output = sys.argv[1:]
tiny = ModelOptions(backbone_width=8, pyramid_channels=8, head_width=16, anchor_sizes=(8, 16, 32, 64, 128),
                    proposals=40, rois=16, min_size=None)
recipe = dataclasses.replace(
    RECIPES["shapes"](), options=tiny, epochs=1, batch_size=2, workers=0, accelerator="cpu", output=output,
    data=DataConfig(train=data + "/train.json", val=data + "/val.json"), evaluate_every=1, ema=0.9)
train(recipe)
state = torch.load(output + "/last.state.pt", weights_only=True)
assert len(state["random"]) == 2 and dist.get_world_size() == 2
step, images = state["position"]["step"], state["position"]["images"]
sys.stdout.write(f"steps {step} images {images}\\n")  # in one piece, for the other process writes there too
"""


@pytest.fixture
def uneven(shapes: Path, tmp_path: Path) -> Path:
    """Return 13 images for 2 processes x 2, only 3 of them with ground truth: in some step, a rank has none."""
    for split in ("train", "val"):
        truth = json.loads((shapes / f"{split}.json").read_text())
        kept = {image["id"] for image in truth["images"][:3]} if split == "train" else None
        if kept is not None:
            truth["annotations"] = [a for a in truth["annotations"] if a["image_id"] in kept]
        (tmp_path / f"{split}.json").write_text(json.dumps(truth))
    (tmp_path / "images").symlink_to(shapes / "images")
    return tmp_path


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("RANK", "WORLD_SIZE", "LOCAL_", "MASTER_"))}
    environment = plain | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=280, env=environment)


def test_ctrl_c_in_a_terminal_saves_and_ends_cleanly(shapes, tmp_path):
    """The signal reaches the whole process group, including the decoding workers."""
    flags = ["--accelerator", "cpu", "--workers", "1", "--batch-size", "2", "--epochs", "40", "--evaluate-every", "40"]
    tiny = ["--options.backbone-width", "8", "--options.pyramid-channels", "8", "--options.head-width", "16"]
    tiny += ["--options.rois", "16"]
    sets = ["--data.train", str(shapes / "train.json"), "--data.val", str(shapes / "val.json")]
    command = [sys.executable, "-m", "cascade_rcnn", "train", "shapes", *flags, *tiny, *sets]
    command += ["--output", str(tmp_path / "run")]
    with subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as training:
        deadline = time.monotonic() + 120
        while len(read_csv(tmp_path / "run" / "train.csv")) < 3 and time.monotonic() < deadline:
            time.sleep(0.1)
        os.killpg(training.pid, signal.SIGINT)
        said, error = (text.decode() for text in training.communicate(timeout=120))
    assert training.returncode == 130, error
    assert "add --resume to continue" in said
    assert "Traceback" not in error
    done = load_state(tmp_path / "run" / "last.state.pt")["position"]["step"]
    assert done >= 3
    assert len(read_csv(tmp_path / "run" / "train.csv")) == done


def test_a_broken_image_ends_the_run_with_its_name_and_loses_nothing(recipe, tmp_path, monkeypatch):
    truth = json.loads(Path(recipe.data.train).read_text())
    images = Path(recipe.data.train).parent / "images"
    (tmp_path / "images" / "train").mkdir(parents=True)
    for image in truth["images"]:
        (tmp_path / "images" / image["file_name"]).write_bytes((images / image["file_name"]).read_bytes())
    name = truth["images"][4]["file_name"]
    (tmp_path / "train.json").write_text(json.dumps(truth))

    def prepare_and_break(*args, **kwargs):  # after all images have been checked
        ready = prepare(*args, **kwargs)
        (tmp_path / "images" / name).write_bytes(b"broken")
        return ready

    broken = replace(recipe, data=replace(recipe.data, train=str(tmp_path / "train.json"), val=""), epochs=3)
    with monkeypatch.context() as patch:
        patch.setattr("cascade_rcnn.engine.training.train.prepare", prepare_and_break)
        with pytest.raises(UserError, match="cannot open this image"):
            train(broken)
    done = load_state(Path(recipe.output) / "last.state.pt")["position"]["step"]
    assert len(read_csv(Path(recipe.output) / "train.csv")) == done
    (tmp_path / "images" / name).write_bytes((images / name).read_bytes())
    assert len(read_csv(train(broken, resume=True) / "train.csv")) == 18


@pytest.mark.slow
def test_torchrun_trains_with_two_processes_on_uneven_batches_and_images_without_objects(uneven):
    script = uneven / "worker.py"
    script.write_text(WORKER)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = run([*launch, str(script), str(uneven), str(uneven / "run")])
    assert done.returncode == 0, done.stderr
    # 13 images make 6 full batches of 2, so each of 2 ranks has 3
    assert done.stdout.count("steps 3 images 12") == 2
    results = json.loads((uneven / "run" / "results.json").read_text())
    assert results["best"]["images"] == 5  # the 5 validation images, each counted once


@pytest.mark.slow
def test_devices_flag_trains_with_two_processes(uneven):
    flags = ["--devices", "2", "--accelerator", "cpu", "--workers", "0", "--epochs", "1", "--batch-size", "2"]
    options = ["--options.backbone-width", "8", "--options.pyramid-channels", "8", "--options.head-width", "16"]
    options += ["--options.proposals", "40", "--options.rois", "16", "--evaluate-every", "1", "--no-report"]
    data = ["--data.train", str(uneven / "train.json"), "--data.val", str(uneven / "val.json")]
    command = [sys.executable, "-m", "cascade_rcnn", "train", "shapes", *flags, *options, *data]
    done = run([*command, "--output", str(uneven / "run")])
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("weights: ") == 1  # printed by only one of the processes
    assert json.loads((uneven / "run" / "results.json").read_text())["updates"] == 3


def test_patience_ends_a_run_that_does_not_improve_and_resuming_does_not_continue_it(recipe, monkeypatch, capsys):
    """AP .5, .4, .5: two evaluations without improvement. The best epoch is the first."""
    from cascade_rcnn.engine.training import train as module

    evaluate, figures = module.evaluate_detected, iter([0.5, 0.4, 0.5, 0.9])
    monkeypatch.setattr(module, "evaluate_detected", lambda *given: replace(evaluate(*given), ap=next(figures)))
    patient = replace(recipe, epochs=4, patience=2, evaluate_every=1)
    output = train(patient)
    assert json.loads((output / "results.json").read_text())["epochs"] == 3
    assert json.loads((output / "best.json").read_text())["epoch"] == 1
    assert "stopped after epoch 3: no AP above 0.500 in 2 evaluations" in capsys.readouterr().err
    train(patient, resume=True)
    assert json.loads((output / "results.json").read_text())["epochs"] == 3
    train(replace(patient, patience=3), resume=True)
    assert json.loads((output / "best.json").read_text())["epoch"] == 4
