"""Fixtures: a dataset and a recipe small enough to train in a test."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from cascade_rcnn.data.shapes import write_shapes
from cascade_rcnn.recipes import DataConfig, Recipe


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a dataset of 13 training and 5 validation images of 64 pixels."""
    return write_shapes(tmp_path_factory.mktemp("shapes"), train=13, val=5, size=64, seed=3)


@pytest.fixture
def outlined(shapes: Path, tmp_path: Path) -> Callable[[int], DataConfig]:
    """Write the annotations of `shapes` with outlines equal to the boxes, from the annotation of index `first` on."""

    def write(first: int) -> DataConfig:
        for split in ("train", "val"):
            content = json.loads((shapes / f"{split}.json").read_text())
            for row in content["annotations"][first:]:
                x, y, w, h = row["bbox"]
                row["segmentation"] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
            (tmp_path / f"{split}.json").write_text(json.dumps(content))
        images = str(shapes / "images")
        train, val = (str(tmp_path / f"{split}.json") for split in ("train", "val"))
        return DataConfig(train=train, val=val, train_images=images, val_images=images, flip=1)

    return write


@pytest.fixture
def recipe(thin_recipe: Recipe, shapes: Path, tmp_path: Path) -> Recipe:
    """Return a recipe of two epochs of a thin cascade on `shapes`."""
    data = DataConfig(train=str(shapes / "train.json"), val=str(shapes / "val.json"), photometric=0.5)
    return replace(thin_recipe, data=data, epochs=2, output=str(tmp_path / "run"))


@pytest.fixture
def detector(recipe: Recipe):
    """Return an untrained detector for `shapes` that still detects something in every image."""
    from dataclasses import asdict

    from cascade_rcnn import create_model
    from cascade_rcnn.data.shapes import CLASSES

    options = asdict(replace(recipe.options, score_threshold=0.0))
    return create_model(recipe.model, categories=CLASSES, **options).eval()
