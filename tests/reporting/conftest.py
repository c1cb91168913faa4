"""Small scenes whose figures are known."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from cascade_rcnn.config import Category
from cascade_rcnn.data.annotations import assemble
from cascade_rcnn.data.dataset import Dataset
from cascade_rcnn.reporting.evidence import Evidence

CATEGORIES = (Category(id=3, name="cat"), Category(id=8, name="dog"))
SIDE = 200  # of each image
Rows = Sequence[Sequence[float]]
MakeScene = Callable[..., Evidence]


def dataset(folder: Path, truth: Rows, images: int) -> Dataset:
    """Rows image (0..), x, y, w, h, label (1 cat, 2 dog) and, if given, whether it is a crowd; ids are from 11 on."""
    rows = np.array([[*row, 0][:7] for row in truth], dtype=np.float64).reshape(-1, 7)
    return Dataset(
        assemble(
            source="truth.json",
            images_dir=folder,
            categories=CATEGORIES,
            image_ids=np.arange(images) + 11,
            image_sizes=np.full((images, 2), SIDE),
            file_names=[f"{k}.png" for k in range(images)],
            box_images=rows[:, 0].astype(np.int64),
            boxes=rows[:, 1:5],
            areas=rows[:, 3] * rows[:, 4],
            labels=rows[:, 5].astype(np.int64),
            ignore=rows[:, 6] > 0,
            ids=np.arange(1, len(rows) + 1),
        )
    )


@pytest.fixture
def scene(tmp_path: Path) -> MakeScene:
    """Evidence of rows of truth, as of `dataset`, and detections: image, x, y, w, h, score, label."""

    def make(truth: Rows, found: Rows, images: int = 2, threshold: float | None = 0.5) -> Evidence:
        pixels = np.random.default_rng(0).integers(0, 255, (SIDE, SIDE, 3), np.uint8)
        for k in range(images):
            PIL.Image.fromarray(pixels).save(tmp_path / f"{k}.png")
        rows = np.array(found, dtype=np.float64).reshape(-1, 7).copy()
        rows[:, 0] += 11
        rows[:, 6] = np.where(rows[:, 6] == 1, 3, 8)
        return Evidence.of(dataset(tmp_path, truth, images), rows, threshold)

    return make
