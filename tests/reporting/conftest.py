"""Fixtures: small scenes with known metrics."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch

from cascade_rcnn.config import Category
from cascade_rcnn.data.assemble import assemble
from cascade_rcnn.data.dataset import Dataset
from cascade_rcnn.data.segmentations import encode, run_lengths
from cascade_rcnn.evaluation.detected import Detected
from cascade_rcnn.evaluation.metrics import LIMIT
from cascade_rcnn.masks import Masks
from cascade_rcnn.reporting.evidence import Evidence
from cascade_rcnn.rle import RLE

CATEGORIES = (Category(id=3, name="cat"), Category(id=8, name="dog"))
SIDE = 200  # of every image
Rows = Sequence[Sequence[float]]
MakeScene = Callable[..., Evidence]


def outline(row: Sequence[float]) -> RLE:
    """Return the mask of a row: the left half of its box."""
    _, x, y, width, height, *_ = map(int, row)
    dense = torch.zeros(1, SIDE, SIDE, dtype=torch.uint8)
    dense[0, y : y + height, x : x + width // 2] = 1
    return run_lengths(Masks.encode(dense))[0]


def dataset(folder: Path, truth: Rows, images: int, *, masks: bool = False) -> Dataset:
    """Return annotations from rows image (0..), x, y, w, h, label (1 cat, 2 dog) and, optionally, crowd."""
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
            segmentations=[encode(outline(row)) for row in truth] if masks else None,
        )
    )


@pytest.fixture
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reduce the bootstrap to a few draws."""
    monkeypatch.setattr("cascade_rcnn.reporting.headline._DRAWS", 10)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> MakeScene:
    """Return evidence from ground truth rows, as in `dataset`, and detections: image, x, y, w, h, score, label.

    With `masks`, both have masks: the left half of each box.
    """

    folder = tmp_path_factory.mktemp("scene")

    def make(
        truth: Rows,
        found: Rows,
        images: int = 2,
        threshold: float | None = 0.5,
        *,
        limit: int = LIMIT,
        pixels: bool = False,
        masks: bool = False,
    ) -> Evidence:
        for k in range(images if pixels else 0):
            PIL.Image.effect_noise((SIDE, SIDE), 50).convert("RGB").save(folder / f"{k}.png")
        rows = np.array(found, dtype=np.float64).reshape(-1, 7).copy()
        rows[:, 0] += 11
        rows[:, 6] = np.where(rows[:, 6] == 1, 3, 8)
        predicted = Detected(rows, [outline(row) for row in found] if masks else None)
        return Evidence.of(dataset(folder, truth, images, masks=masks), predicted, threshold, limit=limit)

    return make
