"""Flags of `predict` that take more than a plain value, and its engines."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cascade_rcnn import cli, extras
from cascade_rcnn.commands import predict as module
from cascade_rcnn.commands.predict import read_thresholds
from cascade_rcnn.errors import UserError


@pytest.mark.parametrize(
    ("words", "flag"),
    [
        (["predict", "--checkpoint", "m", "--output", "o", "--classes", "cat", "photos"], "classes"),
        (["predict", "--checkpoint", "m", "--output", "o", "--thresholds", "cat=0.4", "photos"], "thresholds"),
        (["look", "--splits", "train", "data"], "splits"),
    ],
)
def test_a_list_that_has_taken_the_paths_after_it_is_named(capsys, words, flag):
    with pytest.raises(SystemExit):
        cli.main(words)
    assert f"given; give them before --{flag}, which takes all words that follow it" in capsys.readouterr().err


def test_thresholds_of_classes(tmp_path: Path):
    assert read_thresholds(()) == {}
    assert read_thresholds(("car=0.4", "a=b=1")) == {"car": 0.4, "a=b": 1.0}
    (tmp_path / "t.json").write_text('{"car": 0.4, "person": 1}')
    assert read_thresholds((str(tmp_path / "t.json"),)) == {"car": 0.4, "person": 1}


@pytest.mark.parametrize(
    "given", [("car",), ("=0.4",), ("car=high",), ("list.json",), ("text.json",), ("none.json",), ("car=1", "car=0")]
)
def test_mistakes(tmp_path: Path, monkeypatch, given):
    monkeypatch.chdir(tmp_path)
    Path("list.json").write_text("[0.4]")
    Path("text.json").write_text('{"car": "0.4"}')
    with pytest.raises(UserError) as caught:
        read_thresholds(given)
    assert "\n" not in str(caught.value)


def predict(*words: str) -> None:
    cli.main(["predict", "--checkpoint", "starter", "--output", "found", *words])


def fails(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as stopped:
        predict(*words)
    assert stopped.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--format", "voc", "a.jpg"), "'a.jpg' is not one of coco, cvat, label-studio, parquet, voc, yolo; give"),
        (("--tta", "flip", "a.jpg"), "'a.jpg' is not one of flip; give images first"),
    ],
)
def test_images_after_a_flag_that_takes_several_words(capsys, words, said):
    with pytest.raises(SystemExit) as stopped:
        predict(*words)
    assert stopped.value.code == 2
    assert said in " ".join(capsys.readouterr().err.replace("│", " ").split())


@pytest.fixture
def asked(monkeypatch) -> list[Any]:
    """Record what is requested from Ray, which finds 5 images, one of them bad."""
    calls = []

    class Summary(SimpleNamespace):
        def __str__(self) -> str:
            return "5 images: found"

    def predict_dataset(*given, **settings):
        calls.append((given, settings))
        notes = ["2 rows alike"] if "alike" in given[1] else []
        return Summary(done=3, before=2, failed=int("bad" in given[1]), notes=notes)

    monkeypatch.setattr(module, "needs", lambda *_: None)
    monkeypatch.setitem(sys.modules, "cascade_rcnn.ray", SimpleNamespace(predict_dataset=predict_dataset))
    return calls


def test_ray_is_asked_for_what_the_flags_say(asked, capsys):
    predict("s3://bucket/photos", "--engine", "ray")
    every = {"batch_size": None, "device": None, "precision": "fp32", "trust": False, "threshold": 0.0}
    assert asked == [
        ((Path("starter"), "s3://bucket/photos", "found"), every | {"workers": None, "cpus": 1, "gpus": None})
    ]
    assert capsys.readouterr().out == "5 images: found\n"
    numbers = ["--workers", "3", "--cpus", "2", "--gpus", "0.5", "--batch-size", "4", "--threshold", "0.3"]
    predict(
        "a.tar", "--engine", "ray", *numbers, "--nms", "0.6", "--agnostic-nms", "--min-size", "None", "--no-pictures"
    )
    assert asked[1][1] == every | {
        "workers": 3,
        "cpus": 2,
        "gpus": 0.5,
        "batch_size": 4,
        "threshold": 0.3,
        "nms_iou": 0.6,
        "agnostic_nms": True,
        "min_size": None,
    }


def test_notes_of_ray_are_told(asked, capsys):
    predict("alike", "--engine", "ray")
    assert capsys.readouterr().err == "note: 2 rows alike\n"


def test_images_that_ray_could_not_use_are_counted_at_the_end(asked, capsys):
    assert fails(capsys, "bad", "--engine", "ray") == (
        "error: 1 of 5 images could not be used (their rows have an error); the others are done"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["photos", "--tiles", "800"], "--tiles: no effect with --engine ray; leave it out"),
        (["photos", "--track", "--step", "2"], "--step, --track: no effect with --engine ray; leave them out"),
        (["photos", "--tta", "flip", "--overwrite"], "--overwrite, --tta: no effect"),
        (["photos", "--format", "coco"], "--format: no effect"),
        ([], "--engine ray reads one source, not 0; give a folder, a Parquet file or a .tar"),
        (["a", "b"], "--engine ray reads one source, not 2"),
    ],
)
def test_what_ray_does_not_do_is_refused(asked, capsys, words, message):
    assert message in fails(capsys, *words, "--engine", "ray")
    assert not asked


@pytest.mark.parametrize("flag", ["workers", "cpus", "gpus"])
def test_what_only_ray_does_is_refused_without_it(capsys, flag):
    assert fails(capsys, "photos", f"--{flag}", "2") == (
        f"error: --{flag}: no effect with --engine local; leave it out"
    )


def test_without_ray_one_line_says_what_to_install(capsys, monkeypatch):
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    assert "needs ray, pyarrow, fsspec; pip install 'cascade-rcnn[ray]'" in fails(capsys, "photos", "--engine", "ray")
