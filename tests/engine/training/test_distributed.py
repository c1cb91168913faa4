"""Training with several processes, which communicate through gloo: what they learn, and how a lost one is handled."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from cascade_rcnn.data.shapes import write_shapes
from cascade_rcnn.engine.checkpoint import load, load_state
from cascade_rcnn.engine.training.metric_log import read_csv

pytestmark = pytest.mark.slow

# `cascade-rcnn train`, in which a rank is killed before an update of the first attempt, and every image draws the same
# random numbers in whichever batch it is.
PROGRAM = """
import os, signal, sys, time
from pathlib import Path
import torch
from cascade_rcnn import cli
from cascade_rcnn.engine.training import optim
from cascade_rcnn.heads import cascade
from cascade_rcnn.matching import Matches
from cascade_rcnn.models import rpn
from cascade_rcnn.sampling import Sample, sample

rank, step = os.environ.get("KILL", "none 0").split()

def learning_rate(config, current, total, images, plain=optim.learning_rate):
    first = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0"
    if first and current == int(step) and os.environ.get("RANK", os.environ.get("LOCAL_RANK")) == rank:
        Path(os.environ["KILLED"]).write_text(str(time.time()))
        os.kill(os.getpid(), signal.SIGKILL)
    return plain(config, current, total, images)

def of_each_image(matches, number, fraction):
    found = []
    for one in zip(*(field.split(1) for field in matches)):
        torch.manual_seed(0)
        found.append(sample(Matches(*one), number, fraction))
    return Sample(*map(torch.cat, zip(*found)))

optim.learning_rate = learning_rate
if os.environ.get("SAME_DRAWS"):
    cascade.sample = rpn.sample = of_each_image
if __name__ == "__main__":
    cli.main()
"""
THIN = [
    *("train", "shapes", "--accelerator", "cpu", "--precision", "fp32", "--workers", "0", "--no-report"),
    *("--options.backbone-width", "8", "--options.pyramid-channels", "8", "--options.head-width", "16"),
    *("--options.proposals", "40", "--options.rois", "16", "--options.anchor-sizes", "8", "16", "32", "64", "128"),
    *("--batch-size", "2", "--augmentation", "--optimizer.name", "sgd", "--optimizer.lr", "0.02"),
    *("--optimizer.lr-batch", "4", "--optimizer.warmup-steps", "0", "--ema", "None"),
]
TORCHRUN = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone")


@pytest.fixture(scope="module")
def program(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("program") / "program.py"
    path.write_text(PROGRAM)
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> list[str]:
    """Write 8 training and 3 validation images of one size."""
    folder = write_shapes(tmp_path_factory.mktemp("eight"), train=8, val=3, size=64, seed=5)
    return ["--data.train", str(folder / "train.json"), "--data.val", str(folder / "val.json")]


def run(*command: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("RANK", "WORLD_SIZE", "LOCAL_", "MASTER_"))}
    environment = plain | {"OMP_NUM_THREADS": "1"} | variables
    words = [sys.executable, *map(str, command)]
    return subprocess.run(words, capture_output=True, text=True, timeout=280, env=environment)


def weights(output: Path) -> dict[str, torch.Tensor]:
    return load(output / "last.safetensors").state_dict()


def test_two_processes_learn_what_one_learns(program, data, tmp_path):
    """Four images per update: from two processes, normalised together, or from a single one."""
    folder = Path(data[1]).parent
    truth = json.loads((folder / "train.json").read_text())
    truth["images"] = truth["images"][:4]
    kept = {image["id"] for image in truth["images"]}
    truth["annotations"] = [one for one in truth["annotations"] if one["image_id"] in kept]
    (folder / "four.json").write_text(json.dumps(truth))
    flags = [*THIN, "--data.train", str(folder / "four.json"), *data[2:], "--epochs", "4"]
    for name, more in {"two": ["--devices", "2"], "one": ["--batch-size", "4"]}.items():
        done = run(program, *flags, *more, "--output", tmp_path / name, SAME_DRAWS="1")
        assert done.returncode == 0, done.stderr
    rows = [read_csv(tmp_path / name / "train.csv") for name in ("one", "two")]
    assert len(rows[0]) == len(rows[1]) == 4  # one update per epoch
    assert [row["loss"] for row in rows[1]] == pytest.approx([row["loss"] for row in rows[0]], rel=1e-4)
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    torch.testing.assert_close(two, one, rtol=1e-4, atol=1e-5)
    begun = load_state(tmp_path / "one" / "last.state.pt")["position"]
    assert begun["images"] == load_state(tmp_path / "two" / "last.state.pt")["position"]["images"] == 16


def test_fewer_images_than_the_processes_could_take(program, data, tmp_path):
    """3 training images make one batch, which both processes get; the only validation image goes to the first one."""
    folder = Path(data[1]).parent
    for split, number in (("train", 3), ("val", 1)):
        truth = json.loads((folder / f"{split}.json").read_text())
        truth["images"] = truth["images"][:number]
        kept = {image["id"] for image in truth["images"]}
        truth["annotations"] = [one for one in truth["annotations"] if one["image_id"] in kept]
        (folder / f"few-{split}.json").write_text(json.dumps(truth))
    few = ["--data.train", str(folder / "few-train.json"), "--data.val", str(folder / "few-val.json")]
    flags = [*THIN, *few, "--devices", "2", "--options.score-threshold", "0", "--epochs", "2"]
    done = run(program, *flags, "--output", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert len(read_csv(tmp_path / "run" / "train.csv")) == 2
    best = json.loads((tmp_path / "run" / "best.json").read_text())
    assert best["images"] == 1
    from cascade_rcnn import evaluate

    alone = evaluate(tmp_path / "run" / "best.safetensors", folder / "few-val.json")
    assert alone.ap == pytest.approx(best["ap"], abs=1e-6)


@pytest.mark.parametrize("lost", [0, 1])
@pytest.mark.parametrize("launcher", ["torchrun", "devices"])
def test_when_a_process_is_killed_the_others_end_soon_with_a_line_that_names_it(
    program, data, tmp_path, launcher, lost
):
    start = [*TORCHRUN, program] if launcher == "torchrun" else [program]
    flags = [*THIN, *data, "--epochs", "20"] + (["--devices", "2"] if launcher == "devices" else [])
    killed = tmp_path / "killed"
    done = run(*start, *flags, "--output", tmp_path / "run", KILL=f"{lost} 3", KILLED=str(killed))
    assert time.time() - float(killed.read_text()) < 30
    assert done.returncode != 0
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert line.startswith(f"error: process {lost} of this training run ")
    assert "--resume auto continues from the last saved state" in line
    if launcher == "devices":
        assert "Traceback" not in done.stderr


def test_torchrun_s_restart_continues_and_ends_as_if_nothing_had_happened(program, data, tmp_path):
    flags = [*THIN, *data, "--epochs", "3", "--save-every", "3"]  # two updates per epoch
    whole = run(program, *flags, "--devices", "2", "--output", tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    killed = tmp_path / "killed"
    elastic = [*TORCHRUN, "--max-restarts", "1", program, *flags, "--resume", "auto", "--output", tmp_path / "run"]
    done = run(*elastic, KILL="1 3", KILLED=str(killed), TORCH_DISABLE_SHARE_RDZV_TCP_STORE="1")
    assert done.returncode == 0, done.stderr
    assert killed.exists()
    rows = read_csv(tmp_path / "run" / "train.csv")
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    torch.testing.assert_close(weights(tmp_path / "run"), weights(tmp_path / "whole"), rtol=0, atol=0)
    best = [json.loads((tmp_path / name / "best.json").read_text()) for name in ("run", "whole")]
    assert best[0] == best[1]


def test_a_scheduler_s_signal_is_not_answered_on_the_terminal(program, data, tmp_path):
    flags = [*THIN, *data, "--epochs", "400", "--output", str(tmp_path / "run")]
    with subprocess.Popen(
        [sys.executable, program, *flags], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as training:
        deadline = time.monotonic() + 120
        while len(read_csv(tmp_path / "run" / "train.csv")) < 3 and time.monotonic() < deadline:
            time.sleep(0.1)
        training.send_signal(signal.SIGTERM)
        said, error = training.communicate(timeout=120)
    assert training.returncode == 130, error
    assert "stopping after this step" not in said
    assert "add --resume to continue" in said
