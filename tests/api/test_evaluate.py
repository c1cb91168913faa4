"""`evaluate` gives the same metrics for every form of model and data."""

import json
from typing import Any

import pytest
import torch

from cascade_rcnn import (
    Dataset,
    Predictor,
    UserError,
    create_model,
    evaluate,
    evaluate_detections,
    load,
    load_annotations,
    save,
)


@pytest.fixture
def detector(recipe, shapes):
    """Return an untrained detector that still detects something in every image."""
    torch.manual_seed(0)
    options = vars(recipe.options) | {"score_threshold": 0.0}
    categories = load_annotations(shapes / "val.json").categories
    return create_model(recipe.model, categories=categories, **options)


def test_all_forms_of_models_and_data(detector, shapes, plain, tmp_path):
    save(detector, tmp_path / "model.safetensors")
    path = shapes / "val.json"
    found = tmp_path / "found.json"
    expected = evaluate(tmp_path / "model.safetensors", path, workers=0, save_detections=found)
    assert expected.images == 4
    truth = load_annotations(path)
    for model in (str(tmp_path / "model.safetensors"), Predictor(tmp_path / "model.safetensors")):
        assert evaluate(model, path, workers=0) == expected
    as_it_is = evaluate(detector, path, workers=0)
    assert as_it_is.ap == pytest.approx(expected.ap, abs=1e-3)  # a model from a file is folded and rounds differently
    assert detector.training
    for data in (truth, Dataset(truth), plain["val"]):
        assert evaluate(detector, data, workers=0) == as_it_is
    assert evaluate(detector, shapes, split="val", workers=0) == as_it_is
    assert evaluate_detections(found, truth) == expected
    assert evaluate_detections(str(found), path, save_detections=tmp_path / "again.json") == expected
    assert (tmp_path / "again.json").read_bytes() == found.read_bytes()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_report_has_the_metrics_that_are_returned(detector, shapes, tmp_path, monkeypatch, precision):
    """The objects are the detections of the model itself, which runs on all images to measure its stages."""
    monkeypatch.setattr("cascade_rcnn.reporting.headline._DRAWS", 5)
    monkeypatch.setattr("cascade_rcnn.reporting.plots._plot", lambda draw, label, height=0: "<svg></svg>")
    path, found, data, report = (tmp_path / name for name in ("model.safetensors", "found.json", "data.json", "report"))
    save(detector, path)
    options: dict[str, Any] = {"images": shapes, "workers": 0, "precision": precision}
    evaluate(path, shapes / "val.json", save_detections=found, **options)
    objects = [{"id": k, "iscrowd": 0, "area": 1, **one} for k, one in enumerate(json.loads(found.read_text()), 1)]
    data.write_text(json.dumps(json.loads((shapes / "val.json").read_text()) | {"annotations": objects}))
    metrics = evaluate(path, data, max_detections=3, report=report, **options)
    assert 0 < metrics.ap < evaluate(path, data, **options).ap
    numbers = json.loads((report / "report.json").read_text())
    assert numbers["metrics"] == metrics.to_dict()
    assert numbers["intervals"]["overall"]["ap"]["mean"] == pytest.approx(metrics.ap)
    assert numbers["stages"]["rows"][-1]["ap"] == pytest.approx(metrics.ap)
    assert "the top 3 detections per image and class" in (report / "report.html").read_text()
    assert evaluate_detections(found, data, images=shapes, max_detections=3, report=report) == metrics
    assert json.loads((report / "report.json").read_text())["metrics"] == metrics.to_dict()


def test_a_report_takes_the_mask_metrics_that_are_returned(masked, outlined, tmp_path, monkeypatch):
    monkeypatch.setattr("cascade_rcnn.reporting.headline._DRAWS", 5)
    monkeypatch.setattr("cascade_rcnn.reporting.plots._plot", lambda draw, label, height=0: "<svg></svg>")
    monkeypatch.setattr("cascade_rcnn.reporting.evidence.evaluate_detected", None)  # must not be called
    found, report = tmp_path / "found.json", tmp_path / "report"
    metrics = evaluate(masked, outlined, workers=0, save_detections=found, report=report)
    assert metrics.masks is not None
    assert json.loads((report / "report.json").read_text())["metrics"] == metrics.to_dict()
    assert "mask AP50" in (report / "report.html").read_text()
    assert evaluate_detections(found, outlined, report=report) == metrics
    assert json.loads((report / "report.json").read_text())["metrics"] == metrics.to_dict()


def test_a_report_leaves_out_unusable_images_and_their_detections(masked, outlined, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("cascade_rcnn.reporting.headline._DRAWS", 5)
    monkeypatch.setattr("cascade_rcnn.reporting.plots._plot", lambda draw, label, height=0: "<svg></svg>")
    found, kept, report = tmp_path / "found.json", tmp_path / "kept.json", tmp_path / "report"
    evaluate(masked, outlined, workers=0, save_detections=found)
    data = json.loads(outlined.read_text())
    data["images"][1]["file_name"] = "missing.png"
    outlined.write_text(json.dumps(data))
    names = {one["id"]: one["file_name"] for one in data["images"]}
    rows = [one | {"file_name": names[one["image_id"]]} for one in json.loads(found.read_text())]
    found.write_text(json.dumps(rows))
    with pytest.raises(UserError, match=r"1 of 4 images cannot be used: 1 is missing .*skip"):
        evaluate_detections(found, outlined, report=report)
    metrics = evaluate_detections(found, outlined, report=report, bad_images="skip", save_detections=kept)
    assert "1 of 4 images cannot be used" in capsys.readouterr().err
    assert (metrics.images, metrics.masks and metrics.masks.images) == (3, 3)
    assert json.loads((report / "report.json").read_text())["metrics"] == metrics.to_dict()
    assert len(json.loads(kept.read_text())) == len(rows)
    rows[0] |= {"image_id": 99}
    rows[0].pop("file_name")
    found.write_text(json.dumps(rows))
    with pytest.raises(UserError, match="entry 0 has an image id that is not in"):
        evaluate_detections(found, outlined, report=report, bad_images="skip")


def test_a_model_that_finds_fewer_objects_than_count_is_mentioned(detector, shapes, tmp_path, capsys):
    note = "note: the model: finds at most 100 objects per image; load or export it with more max_detections"
    save(detector, tmp_path / "model.safetensors")
    for model, limit, told in (
        (detector, 101, True),
        (detector, 100, False),
        (tmp_path / "model.safetensors", 101, False),
    ):
        evaluate(model, shapes / "val.json", workers=0, max_detections=limit)
        assert (note in capsys.readouterr().err) == told
    evaluate(
        load(tmp_path / "model.safetensors", max_detections=101), shapes / "val.json", workers=0, max_detections=101
    )
    assert "finds at most" not in capsys.readouterr().err
    with pytest.raises(UserError, match=r"model\.onnx: no such file"):  # the number is not one of its settings
        evaluate(tmp_path / "model.onnx", shapes / "val.json", workers=0, max_detections=101)


def test_labels_by_their_names(detector, plain, shapes):
    expected = evaluate(detector, shapes / "val.json", workers=0)
    names = detector.class_names

    class Shuffled:
        def __len__(self):
            return len(plain["val"])

        def __getitem__(self, i):
            image, target = plain["val"][i]
            return image, target | {"labels": 10 * target["labels"]}

    labels = {10 * k: name for k, name in enumerate(names, start=1)}
    assert evaluate(detector, Shuffled(), classes=labels, workers=0) == expected
    with pytest.raises(UserError, match=r"Shuffled, item 0: label \d+ is not among 1, 2, 3, 4"):
        evaluate(detector, Shuffled(), workers=0)


def test_mistakes_are_one_line(detector, shapes, plain):
    path = shapes / "val.json"
    for arguments, message in (
        ({"device": "cpu"}, "device: cannot be set for a model given as an object"),
        ({"min_size": 64}, "min_size: cannot be set"),
        ({"precision": "bf16"}, "precision: cannot be set"),
        ({"max_detections": 0}, "max-detections is 0"),
        ({"classes": ["a"]}, "annotations have class names of their own"),
    ):
        with pytest.raises(UserError, match=message):
            evaluate(detector, path, workers=0, **arguments)
    with pytest.raises(UserError, match="cannot use int as a model"):
        evaluate(3, path)  # pyright: ignore[reportArgumentType]
    with pytest.raises(UserError, match="cannot use int as data"):
        evaluate(detector, 3)  # pyright: ignore[reportArgumentType]
    two = create_model("faster_rcnn_resnet18_fpn", 2, backbone_width=8, pyramid_channels=8, head_width=8)
    with pytest.raises(UserError, match="the model: the model has 2 classes"):
        evaluate(two, path, workers=0)


def test_more_objects_than_the_model_finds_are_noted(recipe, shapes, capsys):
    categories = load_annotations(shapes / "val.json").categories
    few = create_model(recipe.model, categories=categories, **vars(recipe.options) | {"max_detections": 1})
    evaluate(few, shapes / "val.json", workers=0)
    noted = "note: the model finds at most 1 object per image, but "
    assert [line.startswith(noted) for line in capsys.readouterr().err.splitlines() if "at most" in line] == [True]
    evaluate(few, shapes / "val.json", workers=0, max_detections=101)
    noted = "note: the model: finds at most 1 object per image; load or export it with more max_detections"
    assert [line for line in capsys.readouterr().err.splitlines() if "at most" in line] == [noted]
