import json
import pickle
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch

from cascade_rcnn.engine.predict import Source, expand, predict_files
from cascade_rcnn.engine.predictor import Predictor
from cascade_rcnn.errors import UserError
from cascade_rcnn.models.checkpoint import save

CATEGORIES = [(7, "cat"), (9, "dog")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images, one of them broken, and a file that is none."""
    place = tmp_path / "images"
    (place / "deep").mkdir(parents=True)
    for number, name in enumerate(("a.png", "deep/b.jpg")):
        PIL.Image.new("RGB", (40, 30), (number * 90, 80, 20)).save(place / name)
    (place / "broken.png").write_bytes(b"no image")
    (place / "notes.txt").write_text("hello")
    return place


def one_dog(images):
    """A predictor that finds a sure dog and an unsure cat in every image."""
    found = {
        "boxes": torch.tensor([[1.0, 2.0, 21.0, 12.0], [0.0, 0.0, 5.0, 5.0]]),
        "scores": torch.tensor([0.9, 0.1]),
        "labels": torch.tensor([2, 1]),
    }
    return [found for _ in images]


def test_files_folders_and_globs_are_expanded_with_names_that_cannot_collide(folder):
    assert [s.name for s in expand([folder])] == ["a.png", "broken.png", "deep/b.jpg"]
    assert [s.name for s in expand([str(folder / "*.png")])] == ["a.png", "broken.png"]
    assert [s.name for s in expand([str(folder / "**" / "*.jpg"), folder / "a.png"])] == ["deep/b.jpg", "a.png"]
    assert [s.path for s in expand([str(folder / "deep")])] == [folder / "deep" / "b.jpg"]


@pytest.mark.parametrize("wrong", ["nothing*.png", "nothing.png", "none"])
def test_a_pattern_without_images_is_told_before_any_work(folder, wrong):
    with pytest.raises(UserError, match="no image there"):
        expand([folder, folder / wrong])
    with pytest.raises(UserError, match="no image is named"):
        expand([])


def test_results_and_pictures_are_written_and_a_broken_image_is_reported(folder, tmp_path):
    lines: list[str] = []
    counts = predict_files(one_dog, CATEGORIES, expand([folder]), tmp_path / "out", report=lines.append)
    assert counts == (2, 1)
    assert len(lines) == 1
    assert "broken.png" in lines[0]
    results = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert len(results) == 4
    assert results[0] == {
        "image_id": 1,
        "file_name": "a.png",
        "category_id": 9,
        "bbox": [1.0, 2.0, 20.0, 10.0],
        "score": 0.9,
    }
    assert results[2]["image_id"] == 3  # the third that was named
    picture = np.asarray(PIL.Image.open(tmp_path / "out" / "pictures" / "a.png"))
    assert picture.shape == (30 * 16, 40 * 16, 3)  # enlarged to be legible
    assert np.abs(picture.astype(int) - np.array([0, 80, 20])).max() > 60  # something is drawn
    assert (tmp_path / "out" / "pictures" / "deep" / "b.jpg").exists()


def test_image_ids_come_from_annotations_by_file_name_and_others_are_skipped(folder, tmp_path):
    lines: list[str] = []
    ids = {"a.png": 41, "deep/b.jpg": 17}
    (folder / "new.png").write_bytes((folder / "a.png").read_bytes())
    counts = predict_files(
        one_dog, CATEGORIES, expand([folder]), tmp_path, pictures=False, image_ids=ids, report=lines.append
    )
    assert counts == (2, 2)
    assert any("name no 'new.png'" in line for line in lines)
    assert {r["image_id"] for r in json.loads((tmp_path / "detections.json").read_text())} == {41, 17}
    assert not (tmp_path / "pictures").exists()


def test_ctrl_c_keeps_what_was_found(folder, tmp_path):
    calls = []

    def interrupted(images):
        calls.append(len(images))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return one_dog(images)

    with pytest.raises(KeyboardInterrupt):
        predict_files(interrupted, CATEGORIES, expand([folder]), tmp_path, pictures=False, report=lambda _: None)
    assert {r["file_name"] for r in json.loads((tmp_path / "detections.json").read_text())} == {"a.png"}


def test_it_streams(tmp_path):
    """No image is read before those of the batches before it are done."""
    events = []

    def paths():
        for number in range(6):
            path = tmp_path / f"{number}.png"
            PIL.Image.new("RGB", (8, 8)).save(path)
            events.append(("path", number))
            yield Source(path, path.name)

    def predictor(images):
        events.append(("found", len(images)))
        return one_dog(images)

    predict_files(predictor, CATEGORIES, paths(), tmp_path / "out", batch_size=2, pictures=False)
    kinds = [kind for kind, _ in events]
    assert kinds == ["path", "path", "found"] * 3


def test_a_predictor_pickles_without_its_weights_and_agrees_with_the_model(detector, tmp_path):
    save(detector, tmp_path / "model.safetensors")
    predictor = Predictor(tmp_path / "model.safetensors", device="cpu", max_detections=5)
    image = np.random.default_rng(0).integers(0, 255, (64, 72, 3), dtype=np.uint8)
    found = predictor([image])[0]
    assert len(found["boxes"]) <= 5
    text = pickle.dumps(predictor)
    assert len(text) < 2000
    again = pickle.loads(text)([image])[0]
    assert torch.equal(found["boxes"], again["boxes"])
    whole = detector.predict(image, threshold=0.0)
    np.testing.assert_allclose(found["scores"], whole.confidence[: len(found["scores"])], rtol=1e-5)
