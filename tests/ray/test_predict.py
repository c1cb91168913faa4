import io
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest
import torch

pytest.importorskip("ray")

import pyarrow as pa

import cascade_rcnn.ray
from cascade_rcnn import rle
from cascade_rcnn.config import Category
from cascade_rcnn.errors import UserError
from cascade_rcnn.masks import Masks
from cascade_rcnn.ray import SCHEMA, Predict, predict_dataset
from cascade_rcnn.ray.job import _SETTINGS, _check_settings
from cascade_rcnn.ray.storage import Place


class Corners:
    """A predictor that finds the whole image as class 1 and its left half as class 2."""

    class config:  # noqa: N801
        categories = (Category(id=7, name="whole"), Category(id=9, name="half"))

    def detect(self, images):
        if any(image.shape[1] == 13 for image in images):
            raise RuntimeError("out of memory\nand more")
        sizes = [(image.shape[1], image.shape[2]) for image in images]
        return [
            {
                "boxes": torch.tensor([[0, 0, w, h], [0, 0, w / 2, h]], dtype=torch.float32),
                "scores": torch.tensor([0.9, 0.4]),
                "labels": torch.tensor([1, 2]),
            }
            for h, w in sizes
        ]


def encoded(height: int, width: int) -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def predict():
    made = Predict("starter", threshold=0.3)
    made.predictor = Corners()  # type: ignore[assignment]
    return made


def test_a_row_per_image_in_order(predict):
    rows = [
        {"path": "a.png", "bytes": encoded(4, 6)},
        {"path": "bad.jpg", "bytes": b"no image"},
        {"path": "large.png", "bytes": encoded(13, 6)},
        {"path": "b.png", "bytes": encoded(8, 2)},
    ]
    table = predict(pa.Table.from_pylist(rows))
    assert table.schema == SCHEMA
    a, bad, large, b = table.to_pylist()
    assert (a["path"], a["width"], a["height"], a["error"]) == ("a.png", 6, 4, None)
    assert a["boxes"] == [[0, 0, 6, 4], [0, 0, 3, 4]]
    assert (a["category_ids"], a["categories"]) == ([7, 9], ["whole", "half"])
    assert a["scores"] == pytest.approx([0.9, 0.4])
    assert bad["boxes"] is None
    assert "image" in bad["error"]
    assert large["error"] == "RuntimeError: out of memory"  # the other images of its batch get their detections
    assert (b["path"], b["boxes"][0]) == ("b.png", [0, 0, 2, 8])


def test_scores_below_the_threshold_are_left_out(predict):
    predict.threshold = 0.5
    (row,) = predict(pa.table({"path": ["a"], "bytes": [encoded(4, 6)]})).to_pylist()
    assert row["categories"] == ["whole"]
    assert row["masks"] is None


def test_an_earlier_error_is_kept(predict):
    table = pa.table({"path": ["a", "b"], "bytes": [None, encoded(4, 6)], "error": ["a: no such file", None]})
    first, second = predict(table).to_pylist()
    assert first["error"] == "a: no such file"
    assert second["width"] == 6


def test_masks_are_run_lengths_of_the_kept_detections(predict, monkeypatch):
    masks = torch.zeros(2, 4, 6, dtype=torch.bool)
    masks[0, 1:3, 2:4] = True
    plain = Corners.detect
    with_masks = lambda self, images: [one | {"masks": Masks.encode(masks)} for one in plain(self, images)]  # noqa: E731
    monkeypatch.setattr(Corners, "detect", with_masks)
    predict.threshold = 0.5
    (row,) = predict(pa.table({"path": ["a"], "bytes": [encoded(4, 6)]})).to_pylist()
    assert [rle.from_string(one.encode()).tolist() for one in row["masks"]] == [[9, 2, 2, 2, 9]]


def test_an_empty_batch(predict):
    assert predict(pa.table({"path": [], "bytes": []})).schema == SCHEMA


def test_a_process_that_reads_images_does_without_torch():
    assert set(cascade_rcnn.ray.__all__) <= set(dir(cascade_rcnn.ray))
    assert all(getattr(cascade_rcnn.ray, name) is not None for name in cascade_rcnn.ray.__all__)
    code = "import sys, cascade_rcnn.ray, cascade_rcnn.ray.sources; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = cascade_rcnn.ray.nothing


def test_no_resizing_is_another_setting_than_the_models_own_size(tmp_path):
    place = Place(tmp_path)
    place.write(_SETTINGS, b'{"threshold": 0.5}')
    _check_settings(place, {"threshold": 0.5})
    with pytest.raises(UserError, match=r"other settings \(min_size\)"):
        _check_settings(place, {"threshold": 0.5, "min_size": None})


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("starter", {"nms_iou": 2.0}, "nms_iou is 2.0; give 0 to 1"),
        ("model.onnx", {"nms_iou": 0.6}, "nms_iou cannot be set for an exported file"),
        ("model.onnx", {}, r"model\.onnx: not a readable exported model"),
        ("model.pt2", {}, r"model\.pt2: a \.pt2 file is a program"),
    ],
)
def test_a_mistake_about_the_model_is_found_before_ray_starts(tmp_path, monkeypatch, name, options, message):
    monkeypatch.setattr("cascade_rcnn.ray.job._start", lambda: pytest.fail("too late"))
    monkeypatch.chdir(tmp_path)
    for file in ("model.onnx", "model.pt2"):
        (tmp_path / file).write_text("rubbish")
    with pytest.raises(UserError, match=message):
        predict_dataset(name, tmp_path, tmp_path / "found", **options)
    assert not (tmp_path / "found").exists()
