"""Mask metrics against pycocotools, to six digits."""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as reference
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from cascade_rcnn import rle
from cascade_rcnn.data.coco import load_coco
from cascade_rcnn.evaluation.coco import evaluate_boxes
from cascade_rcnn.evaluation.detected import Detected
from cascade_rcnn.evaluation.masks import evaluate_detected
from cascade_rcnn.evaluation.metrics import Metrics

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
DATA = Path(__file__).resolve().parents[2] / "../shared/data/coco_eval"
STATS = (
    "ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large",
    "ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large",
)  # fmt: skip
SIZE = 60


def disc(x: float, y: float, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:SIZE, :SIZE]
    return np.asfortranarray(((columns - x) ** 2 + (rows - y) ** 2 <= radius**2).astype(np.uint8))


def run_lengths(mask: np.ndarray) -> dict[str, Any]:
    found = reference.encode(mask)
    return {"size": list(found["size"]), "counts": found["counts"].decode()}


@pytest.fixture(scope="module")
def scene() -> tuple[dict[str, Any], Detected]:
    """Return discs of two classes as polygons or run lengths, some of them crowds, and detections near them."""
    random = np.random.default_rng(3)
    annotations: list[dict[str, Any]] = []
    rows, masks = [], []
    for k in range(60):
        image, category = int(random.integers(1, 5)), int(random.integers(1, 3))
        x, y, radius = *random.uniform(5, 55, 2), random.uniform(2, 25)
        angles = np.linspace(0, 2 * np.pi, 20)
        polygon = np.stack((x + radius * np.cos(angles), y + radius * np.sin(angles)), axis=1).ravel().round(2).tolist()
        mask = disc(x, y, radius)
        segmentation = [polygon] if k % 2 else run_lengths(mask)
        crowd = int(k % 7 == 0)
        row = {"id": k + 1, "image_id": image, "category_id": category, "iscrowd": crowd, "area": float(mask.sum())}
        annotations.append(
            row | {"bbox": [x - radius, y - radius, 2 * radius, 2 * radius], "segmentation": segmentation}
        )
        for _ in range(2):
            found = disc(*(np.array([x, y]) + random.normal(0, 2, 2)), radius * random.uniform(0.7, 1.3))
            encoded = reference.encode(found)
            rows.append([image, *reference.toBbox(encoded), random.random(), category])
            masks.append({"size": (SIZE, SIZE), "counts": encoded["counts"]})
    images = [{"id": i, "file_name": f"{i}.png", "width": SIZE, "height": SIZE} for i in range(1, 5)]
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    coco = {"images": images, "annotations": annotations, "categories": categories}
    return coco, Detected(np.array(rows), masks)


def pycocotools(coco: dict[str, Any] | Path, found: Detected) -> np.ndarray:
    results = [
        {"image_id": int(row[0]), "category_id": int(row[6]), "score": row[5], "segmentation": mask}
        for row, mask in zip(found.rows.tolist(), found.masks or [], strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = json.loads(coco.read_text()) if isinstance(coco, Path) else json.loads(json.dumps(coco))
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return np.where(evaluation.stats == -1, np.nan, evaluation.stats)


def stats(metrics: Metrics | None) -> list[float]:
    assert metrics is not None
    return [getattr(metrics, name) for name in STATS]


def test_metrics_equal_those_of_pycocotools(scene, tmp_path):
    coco, found = scene
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(coco))
    truth = load_coco(path, tmp_path, masks=True)
    metrics = evaluate_detected(truth, found)
    np.testing.assert_allclose(stats(metrics.masks), pycocotools(coco, found), atol=1e-6)
    assert stats(metrics) == stats(evaluate_boxes(truth, found.rows))
    assert metrics.masks is not None
    assert metrics.masks.ap != metrics.ap
    assert (metrics.masks.boxes, metrics.boxes) == (51, 51)  # without crowds


def test_real_ground_truth_against_itself_shifted():
    if not DATA.exists():
        pytest.skip("no shared/data/coco_eval beside the repository")
    path = next(DATA.glob("*_100.json"))
    truth = load_coco(path, DATA, masks=True)
    random, rows, masks = np.random.default_rng(0), [], []
    for i in range(0, len(truth), 4):
        height, width = truth.image_sizes[i].tolist()
        for a in range(*truth.rows(i).indices(len(truth.boxes))):
            dense = truth.segmentations.masks([a], height, width).dense()[0].numpy()
            moved = np.roll(dense, random.integers(-6, 7, 2), (0, 1))
            counts = rle.encode(moved.astype(bool), (0, 0, width, height), height, width)
            category = truth.categories[int(truth.labels[a]) - 1].id
            rows.append([int(truth.image_ids[i]), *truth.boxes[a].tolist(), random.random(), category])
            masks.append({"size": (height, width), "counts": rle.to_string(counts)})
    found = Detected(np.array(rows), masks)
    metrics = evaluate_detected(truth, found).masks
    np.testing.assert_allclose(stats(metrics), pycocotools(path, found), atol=1e-6)
    assert 0.05 < metrics.ap < 0.9


def test_objects_without_a_mask_are_neither_missed_nor_wrongly_found(scene, tmp_path):
    coco, found = scene
    coco = json.loads(json.dumps(coco))
    for row in coco["annotations"][::3]:
        row["segmentation"] = []
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(coco))
    truth = load_coco(path, tmp_path, masks=True)
    metrics = evaluate_detected(truth, found).masks
    for row in coco["annotations"][::3]:
        (x, y, w, h), row["iscrowd"] = row["bbox"], 1
        row["segmentation"] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
    np.testing.assert_allclose(stats(metrics), pycocotools(coco, found), atol=1e-6)


def test_mask_metrics_accompany_box_metrics(scene, tmp_path):
    coco, found = scene
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(coco))
    metrics = evaluate_detected(load_coco(path, tmp_path, masks=True), found)
    assert metrics.masks is not None
    assert Metrics.from_dict(json.loads(json.dumps(metrics.to_dict()))) == metrics
    boxes = evaluate_boxes(load_coco(path, tmp_path), found.rows)
    assert "masks" not in boxes.to_dict()
    assert str(metrics.masks.table(noun="mask").title).startswith("4 images, 51 masks;")
    assert evaluate_detected(load_coco(path, tmp_path), found) == boxes  # the ground truth has no masks
    assert evaluate_detected(load_coco(path, tmp_path, masks=True), Detected(found.rows)).masks is None


def test_nothing_found(scene, tmp_path):
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(scene[0]))
    metrics = evaluate_detected(load_coco(path, tmp_path, masks=True), Detected(np.zeros((0, 7)), []))
    assert metrics.masks is not None
    assert metrics.masks.ap == 0


def test_without_an_area_in_the_file_the_size_of_an_object_is_that_of_its_mask(tmp_path):
    """A triangle of about 800 pixels in a box of 1,600: small, by the limit of 1,024; with a stated area, medium."""
    triangle = [10.0, 10, 50, 10, 10, 50]
    row = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 10, 40, 40], "segmentation": [triangle]}
    truth = {
        "images": [{"id": 1, "file_name": "a.png", "width": SIZE, "height": SIZE}],
        "categories": [{"id": 1, "name": "triangle"}],
    }
    mask = reference.merge(reference.frPyObjects([triangle], SIZE, SIZE))
    found = Detected(np.array([[1, 10, 10, 40, 40, 0.9, 1]], np.float64), [mask])
    for stated, small in (({}, True), ({"area": 1600.0}, False)):
        (tmp_path / "truth.json").write_text(json.dumps(truth | {"annotations": [row | stated]}))
        metrics = evaluate_detected(load_coco(tmp_path / "truth.json", masks=True), found)
        assert metrics.masks is not None
        assert np.isnan(metrics.masks.ap_small) != small
        assert np.isnan(metrics.masks.ap_medium) == small
        assert metrics.ap_medium == pytest.approx(1)  # of boxes
