"""The quickstart, with two training steps: what it writes and prints, and how it resumes."""

import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import PIL.Image
import pytest

from cascade_rcnn.api import quickstart
from cascade_rcnn.assets import CELLS, PHOTO, STARTER
from cascade_rcnn.cli import main
from cascade_rcnn.data import load_annotations
from cascade_rcnn.engine.predictor import Predictor
from cascade_rcnn.files import read_json, write_json
from cascade_rcnn.models.checkpoint import read_config
from cascade_rcnn.recipes import RECIPES


def few_cells(folder: Path, *, train: int, val: int) -> Path:
    """Reduce the packaged cell dataset to the first few images of each split."""
    for split, number in (("train", train), ("val", val)):
        content = read_json(CELLS / f"{split}.json")
        content["images"] = content["images"][:number]
        kept = {image["id"] for image in content["images"]}
        content["annotations"] = [box for box in content["annotations"] if box["image_id"] in kept]
        write_json(folder / f"{split}.json", content)
        (folder / "images").mkdir(exist_ok=True)
        for image in content["images"]:
            shutil.copy(CELLS / image["file_name"], folder / image["file_name"])
    return folder


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return few_cells(tmp_path_factory.mktemp("cells"), train=4, val=2)


@pytest.fixture
def short(cells: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Limit training to two updates."""
    recipe = RECIPES["quickstart"]()
    sizes = replace(recipe.options, min_size=120)
    recipe = replace(recipe, options=sizes, epochs=1, batch_size=2, workers=0, accelerator="cpu", precision="fp32")
    monkeypatch.setitem(quickstart.RECIPES, "quickstart", lambda: recipe)
    monkeypatch.setattr(quickstart, "CELLS", cells)


@pytest.fixture
def done(
    short: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, str]:
    """Return the output folder of a quickstart and what it printed."""
    monkeypatch.chdir(tmp_path)
    metrics = quickstart.run(tmp_path / "quick")
    assert 0 <= metrics.ap <= 1
    return tmp_path / "quick", capsys.readouterr().out


def test_pictures_steps_and_a_second_run(done: tuple[Path, str], cells: Path, tmp_path: Path):
    output, said = done
    with PIL.Image.open(PHOTO) as photo, PIL.Image.open(output / "people.jpg") as people:
        assert people.size == photo.size
    truth = load_annotations(cells / "val.json")
    for i in range(2):
        with PIL.Image.open(output / "cells" / truth.path(i).name) as picture:
            assert picture.width > 2.5 * picture.height  # two images side by side
    for name in ("overview.jpg", "curve.png"):
        with PIL.Image.open(output / name) as picture:
            assert picture.width > 1000
    assert read_json(output / "recipe.json")["init"] == "starter"
    assert read_config(output / "best.safetensors").preprocess.min_size == (120,)

    before = (output / "last.safetensors").stat().st_mtime_ns
    quickstart.run(output)
    assert (output / "last.safetensors").stat().st_mtime_ns == before

    steps = [shlex.split(line.split("cascade_rcnn ", 1)[1]) for line in said.splitlines() if "-m cascade_rcnn " in line]
    assert [step[0] for step in steps] == ["predict", "evaluate", "train"]
    brief = ["--epochs", "1", "--workers", "0", "--evaluate-every", "0", "--options.min-size", "64"]
    for step in steps:
        main([*step, *(brief if step[0] == "train" else [])])
    assert (tmp_path / "found" / "detections.json").is_file()
    assert (tmp_path / "runs" / "small" / "last.safetensors").is_file()


def test_the_starter_finds_the_three_people():
    found = Predictor("starter", device="cpu")(PHOTO, threshold=0.8)
    assert len(found) == 3
    assert found.xyxy[:, 3].min() > 400  # all of them reach the lower edge of the photo


def test_what_travels_with_the_package_is_small():
    assert STARTER.stat().st_size <= 16e6
    assert sum(file.stat().st_size for file in CELLS.rglob("*") if file.is_file()) <= 2e6
    assert (CELLS / "LICENSE").is_file()
    assert len(load_annotations(CELLS / "train.json")) == 80
    assert not set(load_annotations(CELLS / "train.json").file_names) & set(
        load_annotations(CELLS / "val.json").file_names
    )
