"""Launching training on several machines: the scripts are run on this machine alone."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cascade_rcnn import cli
from cascade_rcnn.data.shapes import write_shapes
from cascade_rcnn.engine.training.settings import as_json

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.sh"))


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """Install `srun` and `scontrol` of a one-machine cluster, and a `torchrun` that only prints its arguments."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for name, text in {
        "scontrol": '[ "$*" = "show hostnames localhost" ] && echo localhost',
        "srun": 'exec "$@"',
        "torchrun": 'printf "%s\\n" "$@"',
    }.items():
        (folder / name).write_text(f"#!/bin/bash\n{text}\n")
        (folder / name).chmod(0o755)
    return folder


def run(command: list[str | Path], path: str, **variables: str) -> subprocess.CompletedProcess[str]:
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("RANK", "WORLD_SIZE", "LOCAL_", "MASTER_"))}
    environment = plain | {"PATH": f"{path}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"} | variables
    words = [str(word) for word in command]
    return subprocess.run(words, capture_output=True, text=True, timeout=280, env=environment)


ON_SLURM = {"SLURM_JOB_NODELIST": "localhost", "SLURM_JOB_NUM_NODES": "1", "SLURM_JOB_ID": "7"}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_script_s_command_line_is_one_of_torchrun_and_of_train(script, tools, monkeypatch):
    assert subprocess.run(["bash", "-n", script]).returncode == 0
    flags = ["finetune", "--data", "photos", "--output", "runs/mine", "--epochs", "3"]
    done = run([script, *flags], str(tools), **ON_SLURM, SLURM_GPUS_ON_NODE="4", PROCESSES="4")
    assert done.returncode == 0, done.stderr
    words = done.stdout.splitlines()

    from torch.distributed.run import parse_args

    given = parse_args(words)
    assert (given.nnodes, given.nproc_per_node, given.max_restarts) == ("1", "4", 3)
    assert (given.module, given.training_script) == (True, "cascade_rcnn")
    assert given.rdzv_endpoint == "localhost:29500"
    asked = []
    monkeypatch.setattr(
        "cascade_rcnn.api.train.train", lambda recipe, **how: asked.append((recipe, how)) or sys.exit(0)
    )
    with pytest.raises(SystemExit):
        cli.main(given.training_script_args)
    ((recipe, how),) = asked
    assert (recipe.epochs, recipe.output) == (3, "runs/mine")
    assert how.items() >= {"data": Path("photos"), "resume": "auto", "overfit_test": False}.items()


@pytest.fixture
def recipe(thin_recipe, tmp_path: Path) -> Path:
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(as_json(thin_recipe)))
    return path


@pytest.fixture
def shapes(tmp_path: Path) -> Path:
    return write_shapes(tmp_path / "shapes", train=8, val=2, size=64, seed=1)


def updates(output: Path) -> int:
    return json.loads((output / "results.json").read_text())["updates"]


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_script_trains_with_two_processes_and_the_same_again_continues(script, tools, recipe, shapes, tmp_path):
    (tools / "torchrun").unlink()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    variables = ON_SLURM | {"SLURM_GPUS_ON_NODE": "2", "PROCESSES": "2", "PORT": port}
    for _ in range(2):
        done = run(
            [script, recipe, "--data", shapes, "--output", tmp_path / "run", "--no-report"],
            f"{tools}:{Path(sys.executable).parent}",
            **variables,
        )
        assert done.returncode == 0, done.stderr
        assert updates(tmp_path / "run") == 2  # 8 images, two for each of two processes


@pytest.mark.slow
def test_ray_train_trains_with_two_workers_and_survives_the_death_of_one(recipe, shapes, tmp_path):
    pytest.importorskip("ray.train.torch")
    program = tmp_path / "program.py"
    program.write_text((EXAMPLES / "ray_train.py").read_text().replace("    result = ", f"{DEATH}    result = ", 1))
    command = [sys.executable, program, recipe, "--data", shapes, "--output", tmp_path / "run"]
    done = run(
        [*command, "--workers", "2", "--epochs", "2", "--cpu"],
        str(Path(sys.executable).parent),
        RAY_USAGE_STATS_ENABLED="0",
        KILLED=str(tmp_path / "killed"),
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "killed").exists()
    assert updates(tmp_path / "run") == 4
    assert f"weights: {tmp_path}/run/best.safetensors" in done.stdout


# The second worker is killed once, at the third of four updates, after the first epoch has been saved.
DEATH = """
    import os, pathlib, signal
    from cascade_rcnn.engine.training import optim

    def learning_rate(config, current, total, images, plain=optim.learning_rate):
        killed = pathlib.Path(os.environ["KILLED"])
        if current == 2 and os.environ["RANK"] == "1" and not killed.exists():
            killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return plain(config, current, total, images)

    optim.learning_rate = learning_rate
"""
