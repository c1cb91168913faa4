import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from cascade_rcnn.config import Category
from cascade_rcnn.data.annotations import Annotations
from cascade_rcnn.data.assemble import assemble

SHARED = Path(__file__).resolve().parents[2] / "../shared/data"


@pytest.fixture
def shared() -> Path:
    if not SHARED.is_dir():
        pytest.skip(f"no shared data at {SHARED}")
    return SHARED.resolve()


@pytest.fixture
def write_image() -> Callable[..., None]:
    """Write an RGB image whose red counts columns and green counts rows."""

    def write(path: Path, width: int, height: int, **options: object) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.zeros((height, width, 3), np.uint8)
        pixels[..., 0], pixels[..., 1] = np.arange(width), np.arange(height)[:, None]
        PIL.Image.fromarray(pixels).save(path, **options)

    return write


@pytest.fixture
def coco_dict() -> dict:
    """Return two images, three boxes, and classes out of order: cat (7) is label 2, dog (3) is label 1."""
    return {
        "images": [
            {"id": 20, "file_name": "b.png", "width": 40, "height": 30},
            {"id": 10, "file_name": "sub/a.png", "width": 16, "height": 24},
        ],
        "annotations": [
            {"id": 5, "image_id": 10, "category_id": 7, "bbox": [1, 2, 3, 4], "area": 9.5, "iscrowd": 1},
            {"id": 6, "image_id": 20, "category_id": 3, "bbox": [0.25, 0, 10, 20]},
            {"id": 7, "image_id": 10, "category_id": 3, "bbox": [5, 6, 7, 8], "area": 56, "iscrowd": 0},
        ],
        "categories": [{"id": 7, "name": "cat", "supercategory": "pet"}, {"id": 3, "name": "dog"}],
    }


@pytest.fixture
def write_coco(tmp_path: Path) -> Callable[[object], Path]:
    def write(content: object) -> Path:
        path = tmp_path / "boxes.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write


@pytest.fixture
def make_annotations(tmp_path: Path) -> Callable[..., Annotations]:
    """Return annotations of images of the given (height, width) and, per image, rows x, y, w, h of label 1."""

    def make(sizes: list[tuple[int, int]], boxes: list[list[tuple[float, ...]]] | None = None) -> Annotations:
        boxes = boxes or [[] for _ in sizes]
        rows = np.array([row for rows in boxes for row in rows], np.float64).reshape(-1, 4)
        return assemble(
            source="made",
            images_dir=tmp_path,
            categories=[Category(id=1, name="thing")],
            image_ids=np.arange(100, 100 + len(sizes)),
            image_sizes=np.array(sizes),
            file_names=[f"{i}.png" for i in range(len(sizes))],
            box_images=np.repeat(np.arange(len(sizes)), [len(rows) for rows in boxes]),
            boxes=rows,
            areas=rows[:, 2] * rows[:, 3],
            labels=np.ones(len(rows), np.int64),
            ignore=np.arange(len(rows)) % 2 == 1,
            ids=np.arange(1, len(rows) + 1),
        )

    return make


@pytest.fixture
def one_line() -> Callable[..., None]:
    """Check that the error is a single line that contains every given part."""

    def check(caught: pytest.ExceptionInfo, *parts: str) -> None:
        text = str(caught.value)
        assert "\n" not in text
        for part in parts:
            assert part in text

    return check
