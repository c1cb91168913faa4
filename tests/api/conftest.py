"""Fixtures: a small dataset, and a recipe that trains on it within a second."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import cascade_rcnn
from cascade_rcnn import Dataset, Detector, Recipe, create_model, load_annotations
from cascade_rcnn.config import ModelOptions


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a dataset of 8 training and 4 validation images of 64 pixels."""
    return cascade_rcnn.write_shapes(tmp_path_factory.mktemp("api") / "shapes", train=8, val=4, size=64, seed=3)


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    """Return a recipe of one epoch of a thin cascade, without data."""
    options = ModelOptions(
        backbone_width=8,
        pyramid_channels=8,
        head_width=8,
        anchor_sizes=(8, 16, 32, 64, 128),
        proposals=30,
        rois=8,
        min_size=None,
    )
    base = cascade_rcnn.find_recipe("shapes")
    return replace(
        base,
        options=options,
        epochs=1,
        batch_size=2,
        workers=0,
        accelerator="cpu",
        precision="fp32",
        evaluate_every=1,
        output=str(tmp_path / "run"),
    )


@pytest.fixture
def outlined(shapes: Path, tmp_path: Path) -> Path:
    """Return the validation data with outlines: the upper left triangle of each box."""
    data = json.loads((shapes / "val.json").read_text())
    for one in data["annotations"]:
        x, y, width, height = one["bbox"]
        one["segmentation"] = [[x, y, x + width, y, x, y + height]]
    for one in data["images"]:
        one["file_name"] = str(shapes / "images" / one["file_name"])
    (tmp_path / "outlined.json").write_text(json.dumps(data))
    return tmp_path / "outlined.json"


@pytest.fixture
def masked(recipe: Recipe, shapes: Path) -> Detector:
    """Return an untrained detector with masks, which detects something in every image."""
    torch.manual_seed(0)
    options = vars(recipe.options) | {"score_threshold": 0.0, "max_detections": 10, "mask_channels": 8}
    categories = load_annotations(shapes / "val.json").categories
    return create_model("cascade_mask_rcnn_resnet18_fpn", categories=categories, **options)


class Plain:
    """A user's own dataset, unrelated to the package except for where it reads its data."""

    def __init__(self, path: Path, size: int | None = None) -> None:
        self.inner = Dataset(load_annotations(path))
        self.size = len(self.inner) if size is None else size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, i: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        image, target = self.inner[i]
        return image, {name: target[name] for name in ("boxes", "labels", "image_id")}


@pytest.fixture
def plain(shapes: Path) -> dict[str, Plain]:
    return {split: Plain(shapes / f"{split}.json") for split in ("train", "val")}
