"""Boundary AP against values computed by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from cascade_rcnn import extras, rle
from cascade_rcnn.api.evaluate import evaluate, evaluate_detections
from cascade_rcnn.errors import UserError
from cascade_rcnn.evaluation.metrics import Metrics

SIZE = 100  # pixels: 2 % of the diagonal is 3


def runs(left: int, top: int, right: int, bottom: int) -> dict[str, object]:
    pixels = np.ones((bottom - top, right - left), np.bool_)
    counts = rle.to_string(rle.encode(pixels, (left, top, right, bottom), SIZE, SIZE))
    return {"size": [SIZE, SIZE], "counts": counts.decode()}


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Write a square of 40 pixels and a crowd, and detections: the square one pixel off, and one inside the crowd."""
    square = [10.0, 10, 50, 10, 50, 50, 10, 50]
    rows = [
        {"id": 1, "iscrowd": 0, "bbox": [10, 10, 40, 40], "area": 1600, "segmentation": [square]},
        {"id": 2, "iscrowd": 1, "bbox": [60, 0, 40, 100], "area": 4000, "segmentation": runs(60, 0, 100, 100)},
    ]
    truth = {
        "images": [{"id": 1, "file_name": "a.png", "width": SIZE, "height": SIZE}],
        "annotations": [row | {"image_id": 1, "category_id": 3} for row in rows],
        "categories": [{"id": 3, "name": "square"}],
    }
    found = [
        {"bbox": [11, 10, 40, 40], "score": 0.5, "segmentation": runs(11, 10, 51, 50)},
        {"bbox": [70, 20, 20, 20], "score": 0.9, "segmentation": runs(70, 20, 90, 40)},
    ]
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "found.json").write_text(json.dumps([row | {"image_id": 1, "category_id": 3} for row in found]))
    return tmp_path / "found.json", tmp_path / "truth.json"


def test_few_detections_count_as_with_masks(tmp_path):
    """Of twelve squares, each found exactly, three count."""
    pytest.importorskip("faster_coco_eval")
    places = [(x, y) for x in range(0, 80, 20) for y in range(0, 60, 20)]
    rows = [
        {"id": k, "image_id": 1, "category_id": 3, "iscrowd": 0, "bbox": [x, y, 10, 10], "area": 100, "score": 0.9,
         "segmentation": runs(x, y, x + 10, y + 10)}
        for k, (x, y) in enumerate(places, start=1)
    ]  # fmt: skip
    images = [{"id": 1, "file_name": "a.png", "width": SIZE, "height": SIZE}]
    truth = {"images": images, "annotations": rows, "categories": [{"id": 3, "name": "square"}]}
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "found.json").write_text(json.dumps(rows))
    for limit in (3, 12):
        found = evaluate_detections(
            tmp_path / "found.json", tmp_path / "truth.json", boundary=True, max_detections=limit
        )
        assert found.masks is not None
        assert found.boundaries is not None
        assert found.boundaries.ap50 == pytest.approx(found.masks.ap50)
        assert found.boundaries.ar100 == pytest.approx(limit / 12)


def test_boundaries_are_stricter_than_masks(files):
    """Two frames of 3 pixels, one pixel apart, share 370 of 518 pixels: 0.714. The squares share 0.951."""
    pytest.importorskip("faster_coco_eval")
    metrics = evaluate_detections(*files, boundary=True)
    assert metrics.masks is not None
    assert metrics.boundaries is not None
    assert metrics.masks.ap == pytest.approx(1.0)
    assert metrics.boundaries.precision_by_iou == pytest.approx([1.0] * 5 + [0.0] * 5)
    assert (metrics.boundaries.ap, metrics.boundaries.ap75) == pytest.approx((0.5, 0.0))
    assert (metrics.boundaries.ap_medium, metrics.boundaries.boxes) == pytest.approx((0.5, 1))
    assert metrics.boundaries.per_class[0].name == "square"
    again = Metrics.from_dict(json.loads(json.dumps(metrics.to_dict())))
    assert again.boundaries is not None
    assert again.boundaries.precision_by_iou == metrics.boundaries.precision_by_iou
    assert evaluate_detections(*files).boundaries is None


def test_nothing_found_is_measured(files):
    pytest.importorskip("faster_coco_eval")
    found, truth = files
    found.write_text("[]")
    metrics = evaluate_detections(found, truth, boundary=True)
    assert metrics.masks is not None
    assert metrics.boundaries is not None
    assert metrics.ap == metrics.masks.ap == metrics.boundaries.ap == metrics.boundaries.ar100 == 0
    assert evaluate_detections(found, truth).masks is None  # nothing says that there would be masks


def test_without_masks_it_is_refused(files, monkeypatch):
    found, truth = files
    rows = json.loads(found.read_text())
    for row in rows:
        del row["segmentation"]
    found.write_text(json.dumps(rows))
    monkeypatch.setattr(extras, "find_spec", lambda _: object())
    with pytest.raises(UserError, match=r"found\.json: has no masks, so boundary AP cannot be computed"):
        evaluate_detections(found, truth, boundary=True)
    with pytest.raises(UserError, match=r"has no masks, .*boundary AP"):
        evaluate("starter", truth, boundary=True)


def test_ground_truth_without_masks_is_named(files, monkeypatch, capsys):
    found, truth = files
    truth.write_text(json.dumps(json.loads(truth.read_text()) | {"annotations": []}))
    assert evaluate_detections(found, truth).masks is None
    assert "truth.json: has no masks, so mask AP is not measured" in capsys.readouterr().err
    monkeypatch.setattr(extras, "find_spec", lambda _: object())
    with pytest.raises(UserError, match=r"truth\.json: has no masks, so boundary AP cannot be computed"):
        evaluate_detections(found, truth, boundary=True)


def test_a_missing_extra_is_one_line(files, monkeypatch):
    monkeypatch.setattr(extras, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"pip install 'cascade-rcnn\[boundary\]'"):
        evaluate_detections(*files, boundary=True)
