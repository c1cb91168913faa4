"""`cascade-rcnn evaluate` refuses outputs before the model runs, and prints the metrics before it writes them."""

import json
from pathlib import Path

import PIL.Image
import pytest

from cascade_rcnn import create_model, save
from cascade_rcnn.api import evaluate as api
from cascade_rcnn.cli import main
from cascade_rcnn.config import Category
from cascade_rcnn.evaluation import Metrics


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Return the working directory: truth.json, det.json, m.safetensors, a.png, and a data folder with two splits."""
    monkeypatch.chdir(tmp_path)
    truth = {
        "images": [{"id": 1, "file_name": "a.png", "width": 40, "height": 30}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 3, "bbox": [5, 5, 20, 10], "area": 200, "iscrowd": 0}],
        "categories": [{"id": 3, "name": "cat"}],
    }
    (tmp_path / "data").mkdir()
    for name in ("truth.json", "data/train.json", "data/val.json"):
        (tmp_path / name).write_text(json.dumps(truth))
    for name in ("a.png", "data/a.png"):
        PIL.Image.new("RGB", (40, 30)).save(tmp_path / name)
    (tmp_path / "det.json").write_text('[{"image_id": 1, "category_id": 3, "bbox": [5, 5, 20, 10], "score": 1}]')
    sizes = {"backbone_width": 8, "pyramid_channels": 8, "head_width": 8, "proposals": 20, "min_size": 64}
    cat = (Category(id=3, name="cat"),)
    save(create_model("faster_rcnn_resnet18_fpn", categories=cat, **sizes), tmp_path / "m.safetensors")
    return tmp_path


def content(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


TRUTH, FOUND, MODEL = "--annotations truth.json", "--detections det.json", "--checkpoint m.safetensors"


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (f"{TRUTH} {MODEL} --save-detections truth.json", "truth.json"),
        (f"{TRUTH} {MODEL} --output m.safetensors", "m.safetensors"),
        (f"{TRUTH} {MODEL} --save-detections a.png", "a.png"),
        (f"{TRUTH} {FOUND} --output det.json", "det.json"),
        (f"{TRUTH} {FOUND} --save-detections link.json", "link.json"),
        (f"{TRUTH} {FOUND} --save-detections a.json --output data/../a.json", "a.json"),
        (f"{TRUTH} {FOUND} --report r --output r/report.json", "report.json"),
        (f"--annotations data --split val {FOUND} --output data/train.json", "data/train.json"),
        (f"{TRUTH} {MODEL} --save-detections data", "data"),
        (f"{TRUTH} {MODEL} --output data", "data"),
        (f"{TRUTH} {MODEL} --output a.png/m.json", "a.png/m.json"),
        (f"{TRUTH} {MODEL} --report a.png", "a.png"),
        (f"{TRUTH} {MODEL} --report theirs", "theirs/report.html"),
        (f"{TRUTH} {FOUND} --output .", "."),
        (f"{TRUTH} {FOUND} --output=", "."),
    ],
)
def test_bad_outputs_are_one_line_before_anything_is_done(folder, capsys, monkeypatch, words, named):
    (folder / "link.json").symlink_to("det.json")
    (folder / "theirs").mkdir()
    (folder / "theirs" / "report.html").write_text("theirs")
    before = content(folder)
    for work in ("collect", "evaluate_detected"):
        monkeypatch.setattr(api, work, lambda *_, **__: pytest.fail("the work began"))
    with pytest.raises(SystemExit) as stopped:
        main(["evaluate", "--workers", "0", *words.split()])
    assert stopped.value.code == 1
    (line,) = (line for line in capsys.readouterr().err.splitlines() if not line.startswith("note: "))
    assert line.startswith("error: ")
    assert named in line
    assert content(folder) == before


def test_the_same_command_twice_replaces_what_it_wrote(folder):
    for _ in range(2):
        words = f"evaluate {TRUTH} {FOUND} --save-detections s.json --output data/metrics.json --report r"
        main(words.split())
    assert json.loads((folder / "data" / "metrics.json").read_text())["ap"] > 0.99


def test_metrics_are_printed_even_if_they_cannot_be_written(folder, capsys, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Metrics, "save", full)
    with pytest.raises(SystemExit):
        main(f"evaluate {TRUTH} {FOUND} --output metrics.json".split())
    printed = capsys.readouterr()
    assert "cat" in printed.out
    assert "No space left" in printed.err
