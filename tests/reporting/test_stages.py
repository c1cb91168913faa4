"""The stages of a cascade whose boxes are known."""

import numpy as np
import pytest
import torch

from cascade_rcnn import create_model
from cascade_rcnn.config import Category
from cascade_rcnn.reporting.stages import measure_stages
from cascade_rcnn.structures import Proposals

CATEGORIES = (Category(id=3, name="cat"), Category(id=8, name="dog"))
TINY = {"backbone_width": 8, "pyramid_channels": 8, "head_width": 16, "proposals": 20, "rois": 8, "min_size": None}


@pytest.fixture
def moving(monkeypatch):
    """Return a cascade with one proposal that moves boxes right by a tenth of their width at each stage."""
    torch.manual_seed(0)
    model = create_model("cascade_rcnn_resnet18_fpn", categories=CATEGORIES, **TINY).eval()
    for t, head in enumerate(model.roi_heads.heads, start=1):
        torch.nn.init.zeros_(head.regressor.weight)  # type: ignore[union-attr]
        bias = torch.zeros_like(head.regressor.bias)  # type: ignore[union-attr]
        bias.view(-1, 4)[:, 0] = 0.1 / model.roi_heads.coder(t).std[0]
        head.regressor.bias.data.copy_(bias)  # type: ignore[union-attr]
    proposal = Proposals(torch.tensor([[[10.0, 10, 50, 50]]]), torch.ones(1, 1, dtype=torch.bool))
    monkeypatch.setattr(model, "propose", lambda *_: proposal)
    return model


def test_iou_by_hand(scene, moving):
    """The object is 12 pixels to the right of the proposal; the box, 40 wide, is moved by 4, 8 and 12."""
    evidence = scene([(0, 22, 10, 40, 40, 1), (1, 22, 10, 40, 40, 1)], [], pixels=True)
    found = measure_stages(moving, evidence.dataset, 1)
    assert (found.images, found.boxes) == (1, 1)
    assert found.iou == pytest.approx([28 / 52, 32 / 48, 36 / 44, 1], abs=1e-4)
    assert found.counts == [1, *[0] * 9]
    assert [values[0] for values in found.by_bin] == pytest.approx(found.iou)
    assert np.isnan(found.by_bin[0][1])


def test_what_another_test_stage_gives(scene, moving):
    """All classes score the same, so each object is found once: at stage 1 with IoU .67, at the last one with 1."""
    evidence = scene([(0, 22, 10, 40, 40, 1)], [], images=1, pixels=True)
    rows = measure_stages(moving, evidence.dataset, 10).rows
    assert [row.test_stage for row in rows] == [1, 2, 3, None]
    assert [row.ap for row in rows] == pytest.approx([0.4, 0.7, 1, 1], abs=1e-6)
    assert [row.ap90 for row in rows] == pytest.approx([0, 0, 1, 1], abs=1e-6)


def test_a_model_in_training_is_measured_as_in_evaluation_and_goes_on_training(scene):
    torch.manual_seed(0)
    model = create_model("cascade_rcnn_resnet18_fpn", categories=CATEGORIES, **TINY, norm="batch").eval()
    evidence = scene([(0, 22, 10, 40, 40, 1)], [], images=1, pixels=True)
    expected = measure_stages(model, evidence.dataset, 1)
    found = measure_stages(model.train(), evidence.dataset, 1)
    assert (found.rows, found.boxes) == (expected.rows, expected.boxes)
    np.testing.assert_array_equal(found.iou, expected.iou)
    assert model.training


def test_images_are_spread(scene, moving):
    truth = [(k, 22, 10, 40, 40, 1) for k in (0, 2, 4)]
    assert measure_stages(moving, scene(truth, [], images=5, pixels=True).dataset, 3).boxes == 3  # images 0, 2 and 4


def test_masks_are_not_needed(scene):
    """A model with masks works on data that is read without them."""
    torch.manual_seed(0)
    model = create_model("cascade_mask_rcnn_resnet18_fpn", categories=CATEGORIES, **TINY).eval()
    evidence = scene([(0, 22, 10, 40, 40, 1)], [], images=1, pixels=True)
    assert [row.test_stage for row in measure_stages(model, evidence.dataset, 1).rows] == [1, 2, 3, None]
