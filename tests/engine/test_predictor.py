"""A predictor is defined by its file: it pickles small, survives a fork, and equals the model in every form."""

import os
import pickle
import time

import numpy as np
import pytest
import torch

from cascade_rcnn.engine.predictor import Predictor
from cascade_rcnn.errors import UserError
from cascade_rcnn.models.checkpoint import load, save


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (64, 72, 3), dtype=np.uint8)


def test_it_pickles_without_its_weights_and_finds_what_the_model_finds(detector, tmp_path, image):
    save(detector, tmp_path / "model.safetensors")
    predictor = Predictor(tmp_path / "model.safetensors", device="cpu", max_detections=5)
    found = predictor(image, threshold=0.0)
    assert 0 < len(found) <= 5
    text = pickle.dumps(predictor)
    assert len(text) < 2000
    again = pickle.loads(text)(image, threshold=0.0)
    assert np.array_equal(found.xyxy, again.xyxy)
    whole = detector.predict(image, threshold=0.0)
    np.testing.assert_allclose(found.confidence, whole.confidence[: len(found)], rtol=1e-5)
    assert found.class_id.tolist() == whole.class_id[: len(found)].tolist()
    assert type(found) is type(whole)


def test_forms_of_images_and_of_results_are_those_of_the_model(detector, tmp_path, image):
    save(detector, tmp_path / "model.safetensors")
    predictor = Predictor(tmp_path / "model.safetensors", device="cpu")
    many = [image, torch.from_numpy(image).permute(2, 0, 1), image[..., 0]]
    for make in (lambda: many, lambda: np.stack([image, image]), lambda: iter(many)):
        ours, theirs = predictor(make(), threshold=0.0), detector.predict(make(), threshold=0.0)
        assert isinstance(ours, list) == isinstance(theirs, list)
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(one.xyxy, other.xyxy, atol=1e-3)
    assert len(predictor(many, threshold=1.0)[0]) == 0


def test_values_in_another_range_and_devices_that_do_not_compute_are_refused(detector, tmp_path, image):
    save(detector, tmp_path / "model.safetensors")
    pixels = torch.from_numpy(image).permute(2, 0, 1).float()
    with pytest.raises(UserError, match=r"values from .*; give 0\.\.1, or uint8"):
        Predictor(tmp_path / "model.safetensors", device="cpu")(pixels)
    with pytest.raises(UserError, match="device meta: cannot be used here"):
        Predictor(tmp_path / "model.safetensors", device="meta")(image)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("loaded", [True, False])
def test_a_forked_child_does_not_wait_for_threads_that_it_has_not(detector, tmp_path, image, loaded):
    """Torch's threads were started by the model or by something else in the parent, such as reading the data."""
    save(detector, tmp_path / "model.safetensors")
    predictor = Predictor(tmp_path / "model.safetensors", device="cpu")
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        torch.ones(2000, 2000).mm(torch.ones(2000, 9))
        expected = len(predictor(image, threshold=0.0)) if loaded else None
        child = os.fork()
        if child == 0:
            os._exit(0 if expected in (None, len(predictor(image, threshold=0.0))) else 3)
        for _ in range(600):
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                break
            time.sleep(0.1)
        else:
            os.kill(child, 9)
            os.waitpid(child, 0)
            pytest.fail("the child hangs")
        assert os.waitstatus_to_exitcode(status) == 0
    finally:
        torch.set_num_threads(before)


def test_mistakes_are_reported_before_anything_is_loaded(image):
    for options, message in (
        ({"path": None}, "checkpoint is None; give a path"),
        ({"devise": "cpu"}, r"Predictor has no option 'devise'; did you mean 'device'\?"),
        ({"precision": "fp8"}, "precision is 'fp8'; .*give fp32, bf16, fp16"),
    ):
        with pytest.raises(UserError, match=message):
            Predictor(**{"path": "nowhere.safetensors"} | options)
    with pytest.raises(UserError, match=r"Predictor has no option 'treshold'; did you mean 'threshold'\?"):
        Predictor("nowhere.safetensors")(image, treshold=0.95)  # pyright: ignore[reportCallIssue]
    with pytest.raises(UserError, match="checkpoint is None; give a path"):
        load(None)  # pyright: ignore[reportArgumentType]


def test_an_exported_file_has_as_many_threads_as_asked_for_also_in_other_processes(tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr("cascade_rcnn.engine.predictor.Runtime", lambda path, **options: opened.append(options))
    predictor = Predictor(tmp_path / "m.onnx", threads=3)
    for one in (predictor, pickle.loads(pickle.dumps(predictor))):
        assert one.model is None
    assert opened == [{"threads": 3, "trust": False}] * 2
