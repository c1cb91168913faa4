"""Every public name has an example in its docstring, and the examples run."""

import doctest
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import cascade_rcnn
from cascade_rcnn.assets import PHOTO
from cascade_rcnn.config import ModelOptions
from cascade_rcnn.engine.training.settings import as_json
from cascade_rcnn.images.tensors import read_image

SLOW = {"compare", "export_model", "Runtime"}  # an export takes half a minute


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the files that the examples use."""
    folder = tmp_path_factory.mktemp("examples")
    cascade_rcnn.write_shapes(folder / "shapes", train=6, val=4, size=96)
    shutil.copy(PHOTO, folder / "photo.jpg")
    (folder / "recipe.json").write_text(json.dumps(as_json(thin_recipe())))
    (folder / "people.json").write_text(json.dumps(people(folder / "photo.jpg")))
    return folder


def thin_recipe() -> cascade_rcnn.Recipe:
    """Return the recipe `shapes`, thinned to train within a second."""
    recipe = cascade_rcnn.find_recipe("shapes")
    options = ModelOptions(backbone_width=8, pyramid_channels=8, head_width=8, proposals=30, rois=16, min_size=None)
    return replace(recipe, options=options, batch_size=2, workers=0, accelerator="cpu", precision="fp32")


def people(photo: Path) -> dict[str, object]:
    """Return confident detections of the starter model as ground truth."""
    found = cascade_rcnn.load("starter").predict(photo, threshold=0.8)
    boxes = [[x, y, right - x, bottom - y] for x, y, right, bottom in found.xyxy.tolist()]
    _, height, width = read_image(photo).shape
    return {
        "images": [{"id": 1, "file_name": photo.name, "height": height, "width": width}],
        "annotations": [
            {"id": k, "image_id": 1, "category_id": 1, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
            for k, box in enumerate(boxes, start=1)
        ],
        "categories": [{"id": 1, "name": "person"}],
    }


def names() -> list[object]:
    return [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in cascade_rcnn.__all__]


@pytest.mark.parametrize("name", names())
def test_example(name, folder, monkeypatch):
    monkeypatch.chdir(folder)
    if name == "Runtime":
        cascade_rcnn.export_model("starter", "starter.pt2", format="torch-export", size=(320, 480))
    public = {public: getattr(cascade_rcnn, public) for public in cascade_rcnn.__all__}
    finder = doctest.DocTestFinder(recurse=False)
    (found,) = finder.find(public[name], name, globs=public | {"torch": torch, "Path": Path})
    assert found.examples, f"{name} has no example"
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL)
    said: list[str] = []
    assert runner.run(found, out=said.append).failed == 0, "".join(said)
