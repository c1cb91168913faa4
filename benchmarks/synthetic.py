"""Write synthetic annotations and detections in COCO's size and format."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np


def _boxes(rng: np.random.Generator, number: int) -> np.ndarray:
    """Draw boxes (XYWH) inside 640 x 480, mostly small ones, rounded as in COCO's files."""
    size = np.array([640, 480]) * rng.uniform(0.02, 0.9, (number, 2)) ** 2
    corner = (np.array([640, 480]) - size) * rng.uniform(0, 1, (number, 2))
    return np.round(np.concatenate([corner, size], axis=1), 2)


def write_truth(path: Path, images: int, boxes: int, *, categories: int = 80, polygon: int = 0, seed: int = 0) -> None:
    """Write a COCO file; `polygon` is the number of points in each outline (about 20 in real files; 0: no outlines)."""
    rng = np.random.default_rng(seed)
    box = _boxes(rng, boxes)
    owner, label = rng.integers(1, images + 1, boxes).tolist(), rng.integers(1, categories + 1, boxes).tolist()
    outlines = rng.integers(0, 48000, (1024, 2 * polygon)) / 100
    annotations = [
        {"id": k, "image_id": owner[k - 1], "category_id": label[k - 1], "bbox": one, "area": one[2] * one[3],
         "iscrowd": 0, "segmentation": [outlines[k % 1024].tolist()] if polygon else []}
        for k, one in enumerate(box.tolist(), start=1)
    ]  # fmt: skip
    file: dict[str, Any] = {
        "images": [{"id": k, "file_name": f"{k:012}.jpg", "width": 640, "height": 480} for k in range(1, images + 1)],
        "annotations": annotations,
        "categories": [{"id": k, "name": f"class {k}"} for k in range(1, categories + 1)],
    }
    path.write_bytes(msgspec.json.encode(file))


def write_found(path: Path, truth: Path, number: int, seed: int = 1) -> None:
    """Write a COCO results file with every ground-truth box, slightly moved, and otherwise random detections."""
    rng = np.random.default_rng(seed)
    file = msgspec.json.decode(truth.read_bytes())
    rows = [(one["image_id"], one["category_id"], one["bbox"]) for one in file["annotations"]]
    images, categories = len(file["images"]), len(file["categories"])
    others = number - len(rows)
    owner, label = rng.integers(1, images + 1, others).tolist(), rng.integers(1, categories + 1, others).tolist()
    near = np.array([row[2] for row in rows]) * rng.uniform(0.9, 1.1, (len(rows), 4))
    box = np.round(np.concatenate([near, _boxes(rng, others)]), 2).tolist()
    score = np.concatenate([rng.beta(4, 2, len(rows)), rng.beta(1, 6, others)]).tolist()
    owners, labels = [row[0] for row in rows] + owner, [row[1] for row in rows] + label
    found = [
        {"image_id": i, "category_id": c, "bbox": b, "score": s}
        for i, c, b, s in zip(owners, labels, box, score, strict=True)
    ]
    path.write_bytes(msgspec.json.encode(found))
