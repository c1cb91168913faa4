"""Settings evaluated in one pass give the same results as separate evaluations."""

import numpy as np
import pytest
import torch

from cascade_rcnn import create_model, save
from cascade_rcnn.data import load_annotations
from cascade_rcnn.data.shapes import CLASSES
from cascade_rcnn.engine.evaluate import detect, evaluation_loader
from cascade_rcnn.evaluation.heads import heads_for
from cascade_rcnn.evaluation.quality import LocalizationCurve
from cascade_rcnn.models.checkpoint import load
from cascade_rcnn_study.evaluation import detect_and_localize
from cascade_rcnn_study.evaluation_settings import (
    DEFAULT,
    ITERATIVE,
    WITH_TRUTH,
    ensemble,
    on_cascade_inputs,
    single_stage,
    stage_on_inputs,
)

TINY = {"backbone_width": 8, "pyramid_channels": 8, "head_width": 16, "proposals": 30, "rois": 32, "min_size": None}


@pytest.fixture
def truth(base):
    return load_annotations(base.data.val)


def model(name: str = "cascade_rcnn_resnet18_fpn", seed: int = 0):
    torch.manual_seed(seed)
    return create_model(name, categories=CLASSES, score_threshold=0.0, **TINY).eval()


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("cascade_rcnn_resnet18_fpn", [ensemble(3), ensemble(2), single_stage(1), single_stage(2), single_stage(3)]),
        ("integral_loss_resnet18_fpn", [DEFAULT, single_stage(1), single_stage(3)]),
        ("faster_rcnn_resnet18_fpn", [DEFAULT, ITERATIVE]),
    ],
)
def test_each_setting_is_as_if_loaded_with_it(name, settings, truth, tmp_path):
    save(model(name), tmp_path / "model.safetensors")
    whole = load(tmp_path / "model.safetensors")
    found, _ = detect_and_localize(whole, evaluation_loader(truth, 2, 0), settings, 0)
    for setting in settings:
        single = load(tmp_path / "model.safetensors", **setting.inference)
        np.testing.assert_array_equal(found[setting.name].rows, detect(single, evaluation_loader(truth, 2, 0), 3).rows)
    assert len({values.rows.tobytes() for values in found.values()}) == len(settings)
    assert all(values.masks is None for values in found.values())


def test_masks_are_those_of_each_setting_s_boxes(truth, tmp_path):
    whole = model("cascade_mask_rcnn_resnet18_fpn")
    with torch.no_grad():
        for head in whole.tasks[0].heads:
            head.predictor.weight.normal_(std=30.0)  # so that masks have edges
    save(whole, tmp_path / "model.safetensors")
    settings = [ensemble(3), ensemble(1)]
    found, _ = detect_and_localize(whole, evaluation_loader(truth, 2, 0), settings, 0)
    for setting in settings:
        single = load(tmp_path / "model.safetensors", **setting.inference)
        alone = detect(single, evaluation_loader(truth, 2, 0), 3)
        np.testing.assert_array_equal(found[setting.name].rows, alone.rows)
        assert found[setting.name].masks == alone.masks
        assert len(alone.masks) == len(alone.rows) > 0


def test_other_proposals(truth):
    """Evaluating on the cascade's boxes equals `Detector.detect` with them as proposals."""
    single, cascade = model("faster_rcnn_resnet18_fpn"), model(seed=1)
    settings = [WITH_TRUTH, on_cascade_inputs(3), DEFAULT]
    found, _ = detect_and_localize(single, evaluation_loader(truth, 1, 0), settings, 0, cascade=cascade)
    (image,), (target,) = next(iter(evaluation_loader(truth, 1, 0)))
    batch = single.preprocess([image])
    with torch.no_grad():
        proposals = cascade.proposals_after(2, batch.pixels, batch.sizes)
        expected = single.detect(batch.pixels, batch.sizes, proposals)
    rows = found["on-cascade-inputs3"].rows
    rows = rows[rows[:, 0] == int(target["image_id"])]
    np.testing.assert_allclose(rows[:, 5], expected.scores[expected.valid], rtol=1e-5)
    assert not np.array_equal(found["with-truth"].rows, found["default"].rows)


def test_a_stage_on_another_stage_s_inputs(truth):
    cascade = model()
    found, _ = detect_and_localize(cascade, evaluation_loader(truth, 1, 0), [stage_on_inputs(3, 2)], 0)
    (image,), (target,) = next(iter(evaluation_loader(truth, 1, 0)))
    batch = cascade.preprocess([image])
    with torch.no_grad():
        features = cascade.features(batch.pixels)
        inputs = cascade.roi_heads.proposals_after(1, features, cascade.propose(features, batch.sizes), batch.sizes)
        heads = heads_for(cascade, single_stage(3).inference)
        expected = heads(features, inputs, batch.sizes, 3)
    rows = found["stage3-on-inputs2"].rows
    np.testing.assert_allclose(
        rows[rows[:, 0] == int(target["image_id"]), 5], expected.scores[expected.valid], rtol=1e-5
    )


@pytest.mark.parametrize(("name", "steps"), [("cascade_rcnn_resnet18_fpn", 3), ("faster_rcnn_resnet18_fpn", 2)])
def test_localization_has_a_row_for_each_step(name, steps, truth):
    _, curve = detect_and_localize(model(name), evaluation_loader(truth, 2, 0), [], steps)
    assert isinstance(curve, LocalizationCurve)
    assert curve.total.shape == (steps + 1, 10)
    assert curve.count.sum() > 0
    inside = (curve.mean[0] >= curve.BINS[:-1] - 1e-6) & (curve.mean[0] <= curve.BINS[1:] + 1e-6)
    assert (inside | (curve.count == 0)).all()
