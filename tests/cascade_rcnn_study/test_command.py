"""`cascade-rcnn study`."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cascade_rcnn.cli import main
from cascade_rcnn.engine.training.metric_log import read_csv
from cascade_rcnn_study.artifacts import ARTIFACTS
from cascade_rcnn_study.study_folder import StudyFolder


def fails(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 1) -> str:
    with pytest.raises(SystemExit) as stopped:
        main(["study", *arguments])
    assert stopped.value.code == code
    (line,) = capsys.readouterr().err.splitlines()
    return line


def flags(base) -> list[str]:
    """Return the flags with which a user would ask for the fixture's study."""
    options = base.options
    return [
        *("--recipe", "shapes", "--data.train", base.data.train, "--data.val", base.data.val, "--epochs", "1"),
        *("--options.backbone-width", "8", "--options.pyramid-channels", "8", "--options.head-width", "16"),
        *("--options.anchor-sizes", *map(str, options.anchor_sizes), "--options.proposals", "30"),
        *("--options.rois", "16", "--batch-size", "2", "--accelerator", "cpu", "--precision", "fp32"),
        *("--workers", "0", "--resamples", "3", "--sample-images", "2"),
    ]


def test_usage_and_list(capsys):
    main(["study"])
    assert "study COMMAND" in capsys.readouterr().out
    main(["study", "list"])
    listed = capsys.readouterr().out
    assert all(name in listed for name in ARTIFACTS)
    assert "integral loss" in listed


def test_more_words_than_a_command_takes_are_refused(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["study", "list", "table1"])
    assert stopped.value.code == 2
    assert "Unrecognized options: table1" in capsys.readouterr().err


def test_run_explains_its_flags(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["study", "run", "--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    assert all(flag in text for flag in ("--seeds", "--families", "--data.train", "--epochs", "--output"))
    assert "runs/study" in text


@pytest.mark.usefixtures("undrawn")
def test_plan_run_and_render(base, tmp_path, capsys):
    output = str(tmp_path / "study")
    main(["study", "plan", "table2", *flags(base), "--output", output])
    assert "2 runs" in capsys.readouterr().out
    main(["study", "run", "table2", *flags(base), "--output", output])
    said = capsys.readouterr().out
    assert "run 2/2: baseline" in said
    assert (tmp_path / "study/report/report.html").is_file()
    assert "## Table 3" not in (tmp_path / "study/report/report.md").read_text()
    main(["study", "plan", "table2", *flags(base), "--output", output])
    assert "done" in capsys.readouterr().out
    main(["study", "render", "--output", output, "--resamples", "3"])
    assert "report.html" in capsys.readouterr().out
    assert "## Table 3" in (tmp_path / "study/report/report.md").read_text()


@pytest.mark.slow
def test_ctrl_c_saves_what_every_device_trains_and_the_same_command_continues(base, tmp_path):
    """Ctrl-C in a terminal sends SIGINT to every process of the group."""
    words = ["study", "run", "table2", *flags(base), "--epochs", "60", "--devices", "2", "--output", str(tmp_path)]
    command = [sys.executable, "-m", "cascade_rcnn", *words]
    runs = [StudyFolder(tmp_path).run(name, 0) for name in ("cascade", "baseline")]
    with subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as study:
        deadline = time.monotonic() + 120
        while not all(steps(run.training) for run in runs) and time.monotonic() < deadline:
            time.sleep(0.1)
        os.killpg(study.pid, signal.SIGINT)
        said, error = (text.decode() for text in study.communicate(timeout=120))
    assert study.returncode == 130, error
    assert said.endswith("stopped and saved; run the same command to continue\n")
    assert not error
    before = [steps(run.training) for run in runs]
    assert all(run.is_begun and not run.is_trained for run in runs)
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    assert all(run.is_trained and steps(run.training) == 120 > one for run, one in zip(runs, before, strict=True))


def steps(training: Path) -> int:
    return len(read_csv(training / "train.csv"))


def test_mistakes(capsys, tmp_path):
    assert "did you mean 'render'" in fails(capsys, "rendr", code=2)
    assert "did you mean 'table1'" in fails(capsys, "run", "tabel1")
    assert "give the tables and figures to run, before all flags" in fails(capsys, "run", "--seeds", "2", "table1")
    assert "there is no recipe 'smal'" in fails(capsys, "run", "all", "--recipe", "smal", code=2)
    assert "a study needs data" in fails(capsys, "run", "table1", "--recipe=small")
    assert "families and family-weights differ in number, 2 and 1" in fails(
        capsys, "run", "table6", "--families", "small_vgg", "small_rfcn", "--family-weights", "x"
    )
    assert "resamples is 0; give 1 or more" in fails(capsys, "run", "table1", "--resamples", "0")
    assert "resamples is 0" in fails(capsys, "render", "--output", str(tmp_path), "--resamples", "0")
    assert "no finished runs" in fails(capsys, "render", "--output", str(tmp_path))
