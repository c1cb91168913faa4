"""Models in every form give the same detections, and differing models are told apart."""

import pytest
import torch
from torch.optim.swa_utils import AveragedModel

from cascade_rcnn import Detector, Predictor, UserError, load
from cascade_rcnn.api.models import open_model


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    return torch.rand(3, 96, 128, generator=torch.Generator().manual_seed(0))


def test_paths_predictors_and_detectors(image):
    detector = load("starter").train()
    forms = [open_model("starter"), open_model(Predictor("starter")), open_model(detector)]
    results = [opened.detect([image])[0] for opened in forms]
    assert detector.training
    assert [opened.name for opened in forms] == ["starter", "starter", "the model"]
    assert forms[0].settings == forms[1].settings
    assert all(opened.class_names == ["person"] for opened in forms)
    for found in results[1:]:
        assert found.keys() == results[0].keys()
        torch.testing.assert_close(found["boxes"][:5], results[0]["boxes"][:5], rtol=1e-3, atol=1e-2)


def test_a_wrapped_detector_is_used_as_itself():
    detector = load("starter")
    for wrapped in (torch.compile(detector), AveragedModel(detector)):
        opened = open_model(wrapped)  # type: ignore[arg-type]
        assert opened.settings == open_model(detector).settings
        assert isinstance(opened.detector, Detector)
    with pytest.raises(UserError, match="cannot use Linear as a model; give a path, a Detector"):
        open_model(torch.nn.Linear(1, 1))  # type: ignore[arg-type]


def test_settings_reach_the_model_of_a_path():
    opened = open_model("starter", min_size=None, max_detections=7, nms_iou=None)
    assert opened.config.preprocess.min_size is None
    assert opened.config.inference.max_detections == 7
    assert opened.config.inference.nms_iou == load("starter").config.inference.nms_iou
    assert opened.settings["max_detections"] == 7


def test_an_object_is_known_by_its_weights():
    one, same, other = load("starter"), load("starter"), load("starter", nms_iou=0.3)
    settings = [open_model(model).settings for model in (one, same, other)]
    assert settings[0] == settings[1] != settings[2]
    with torch.no_grad():
        next(same.parameters()).add_(1e-3)
    assert open_model(same).settings != settings[0]


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"device": "cpu"}, "device"),
        ({"precision": "bf16"}, "precision"),
        ({"trust": True}, "trust"),
        ({"min_size": None}, "min_size"),
        ({"nms_iou": 0.3}, "nms_iou"),
    ],
)
def test_an_object_stays_as_it_is(settings, name):
    for model in (load("starter"), Predictor("starter")):
        with pytest.raises(UserError, match=f"{name}: cannot be set for a model given as an object"):
            open_model(model, **settings)
