"""What `predict` does, from Python, with a model as an object too."""

import json

import pytest
import torch

from cascade_rcnn import UserError, create_model, predict_files, save


@pytest.fixture
def detector():
    torch.manual_seed(0)
    sizes = {"backbone_width": 8, "pyramid_channels": 8, "head_width": 8, "proposals": 20, "min_size": 64}
    return create_model("faster_rcnn_resnet18_fpn", 2, score_threshold=0.0, **sizes)


def test_an_object_finds_what_its_file_finds_and_goes_on(detector, shapes, tmp_path):
    save(detector, tmp_path / "model.safetensors")
    images = shapes / "images" / "val"
    by_file = predict_files(tmp_path / "model.safetensors", [images], output=tmp_path / "a", pictures=False)
    by_object = predict_files(detector, images, output=tmp_path / "b", pictures=False, formats=["coco"])
    assert (by_file.done, by_object.done, by_object.failed) == (4, 4, 0)
    found = [json.loads((tmp_path / name / "detections.json").read_text()) for name in "ab"]
    for one, other in zip(*found, strict=True):  # a file's normalisation is folded, and rounds otherwise
        assert one | {"bbox": 0, "score": 0} == other | {"bbox": 0, "score": 0}
        assert [*one["bbox"], one["score"]] == pytest.approx([*other["bbox"], other["score"]], abs=1e-3)
    assert by_object.boxes == len(found[0]) > 0
    assert [path.name for path in by_object.files] == ["detections.json", "coco.json"]
    again = predict_files(detector, images, output=tmp_path / "b", pictures=False)
    assert (again.done, again.before) == (0, 4)
    with torch.no_grad():
        detector.roi_heads.heads[0].classifier.bias.add_(1)
    with pytest.raises(UserError, match="has the results of another command"):
        predict_files(detector, images, output=tmp_path / "b", pictures=False)


def test_images_and_ids_of_annotations(detector, shapes, tmp_path):
    summary = predict_files(detector, annotations=shapes / "val.json", output=tmp_path, pictures=False)
    assert summary.done == 4
    truth = json.loads((shapes / "val.json").read_text())
    ids = {image["id"]: image["file_name"] for image in truth["images"]}
    found = json.loads((tmp_path / "detections.json").read_text())
    assert {row["image_id"]: row["file_name"] for row in found} == ids


def test_mistakes_are_one_line(detector, tmp_path):
    with pytest.raises(UserError, match="no images found"):
        predict_files("nowhere.safetensors", [tmp_path / "x*.png"], output=tmp_path)
    with pytest.raises(UserError, match="max_detections: a model given as an object"):
        predict_files(detector, [], annotations="x", output=tmp_path, max_detections=3)
    with pytest.raises(UserError, match="batch-size is 0"):
        predict_files(detector, ["x"], output=tmp_path, batch_size=0)
