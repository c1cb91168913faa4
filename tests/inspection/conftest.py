"""Fixtures: a small, clean dataset into which single faults are put, and a way to look at it."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import PIL.Image
import pytest

from cascade_rcnn.api.look import look
from cascade_rcnn.inspection.look import Look

WIDTH, HEIGHT, SIDE = 128, 96, 16


def drawing(seed: int) -> PIL.Image.Image:
    """Return blurred squares that differ for each seed."""
    cells = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return PIL.Image.fromarray(cells).resize((WIDTH, HEIGHT), PIL.Image.Resampling.BICUBIC)


class Data:
    """A dataset as COCO dictionaries, and images as bytes that `save` writes; faults change both."""

    width, height = WIDTH, HEIGHT
    drawing = staticmethod(drawing)

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.train = self._split("t", 5)
        self.val = self._split("v", 3)
        self.images = {
            one["file_name"]: drawing(seed) for seed, one in enumerate(self.train["images"] + self.val["images"])
        }
        self.options: dict[str, dict[str, Any]] = {}  # for saving, by file name

    def _split(self, prefix: str, number: int) -> dict[str, Any]:
        """Return eight boxes per image, four of each class, which anchors of 128 fit when 96 pixels become 800."""
        images = [
            {"id": i, "file_name": f"{prefix}{i}.jpg", "width": WIDTH, "height": HEIGHT} for i in range(1, number + 1)
        ]
        boxes = [
            {
                "id": 100 * i + k,
                "image_id": i,
                "category_id": 1 + k % 2,
                "bbox": [4 + 30 * (k % 4), 10 + 40 * (k // 4), SIDE, SIDE],
            }
            for i in range(1, number + 1)
            for k in range(8)
        ]
        return {
            "images": images,
            "annotations": boxes,
            "categories": [{"id": 1, "name": "frog"}, {"id": 2, "name": "toad"}],
        }

    def add(self, split: str, name: str, image: PIL.Image.Image, **options: Any) -> None:
        """Add an image with the boxes of the split's first image."""
        data = getattr(self, split)
        data["images"].append({"id": 50, "file_name": name, "width": image.width, "height": image.height})
        rows = [deepcopy(row) for row in data["annotations"] if row["image_id"] == 1]
        data["annotations"] += [row | {"id": 5000 + row["id"], "image_id": 50} for row in rows]
        self.images[name], self.options[name] = image, options

    def box(self, split: str = "train", id: int = 900, **values: Any) -> None:  # noqa: A002
        """Add a box to the first image."""
        row = {"id": id, "image_id": 1, "category_id": 1, "bbox": [70, 70, SIDE, SIDE]}
        getattr(self, split)["annotations"].append(row | values)

    def outline(self) -> None:
        """Give every training object its box as its mask."""
        for row in self.train["annotations"]:
            x, y, width, height = row["bbox"]
            row["segmentation"] = [[x, y, x + width, y, x + width, y + height, x, y + height]]

    def both(self) -> list[dict[str, Any]]:
        return [self.train, self.val]

    def save(self) -> Path:
        for name, image in self.images.items():
            image.save(self.folder / name, **{"format": "JPEG", "quality": 95} | self.options.get(name, {}))
        for name, data in (("train", self.train), ("val", self.val)):
            (self.folder / f"{name}.json").write_bytes(msgspec.json.encode(data))
        return self.folder

    def look(self, **options: Any) -> Look:
        return look(self.save(), **options)


@pytest.fixture
def data(tmp_path: Path) -> Data:
    return Data(tmp_path)


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Data]:
    return lambda: Data(tmp_path_factory.mktemp("data"))
