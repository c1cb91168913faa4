"""The trace of every detection through the stages, against the model's own output."""

import numpy as np
import pytest
import torch

from cascade_rcnn.errors import UserError
from cascade_rcnn.models.checkpoint import load
from cascade_rcnn.models.create import create_model
from cascade_rcnn.models.trace import Trace, trace

THIN = {"backbone_width": 8, "pyramid_channels": 8, "head_width": 8, "proposals": 20, "min_size": 64}


@pytest.mark.parametrize("options", [{}, {"class_agnostic": False}, {"survivors": 10}])
def test_a_trace_ends_in_what_the_model_finds_and_goes_through_its_stages(options):
    torch.manual_seed(0)
    model = create_model("cascade_rcnn_resnet18_fpn", 3, score_threshold=0.0, **options, **THIN).eval()
    for head in model.roi_heads.heads:
        torch.nn.init.normal_(head.regressor.weight, std=0.5)  # so that the stages move boxes
    image = torch.rand(3, 60, 90)
    with torch.inference_mode():
        (found,) = model([image])
        batch = model.preprocess([image])
        after = [model.proposals_after(t, batch.pixels, batch.sizes).boxes[0] for t in range(3)]
    one = trace(model, image)
    assert len(one.scores) == len(found["scores"]) > 0
    assert one.boxes.shape == (len(one.scores), 4, 4)
    np.testing.assert_allclose(one.boxes[:, -1], found["boxes"].numpy(), atol=1e-3)
    np.testing.assert_allclose(one.scores, found["scores"].numpy(), atol=1e-6)
    np.testing.assert_array_equal(trace(torch.compile(model), image).boxes, one.boxes)
    scale = (batch.original_sizes / batch.sizes).flip(-1).repeat(1, 2)[0]
    for stage, boxes in enumerate(after):
        inputs = (boxes * scale).clamp(min=0).minimum(torch.tensor([90.0, 60.0, 90.0, 60.0])).numpy()
        apart = np.abs(one.boxes[:, stage, None] - inputs).max(axis=-1).min(axis=1)
        assert apart.max() < 1e-3  # every box was passed on by the previous stage
    assert one.stage_scores.shape == (len(one.scores), 3)
    np.testing.assert_allclose(one.ious[:, -1], 1, atol=1e-6)
    assert one.ious[:, 0].min() < 0.99
    assert len(one.above(float(one.scores[1])).scores) >= 2


def test_masks_are_those_that_the_model_predicts():
    torch.manual_seed(0)
    model = create_model("cascade_mask_rcnn_resnet18_fpn", 3, score_threshold=0.0, mask_channels=8, **THIN).eval()
    image = torch.rand(3, 60, 90)
    with torch.inference_mode():
        expected = model.find([image])[0]["masks"]
    one = trace(model, image)
    assert one.masks is not None
    assert one.masks.size == (60, 90)
    assert 0 < int(one.masks.areas().sum()) == int(expected.areas().sum())
    assert torch.equal(one.masks.dense(), expected.dense())
    some = one.above(float(one.scores[1])).masks
    assert some is not None
    assert torch.equal(some.dense(), expected.dense()[: len(some)])
    assert trace(load("starter"), image).masks is None


def test_a_model_in_training_mode_is_traced_as_it_predicts():
    torch.manual_seed(0)
    model = create_model("cascade_rcnn_resnet18_fpn", 3, score_threshold=0.0, **THIN).eval()
    image = torch.rand(3, 60, 90)
    expected = trace(model, image)
    modes = [module.training for module in model.train().modules()]
    found = trace(model, image)
    assert [module.training for module in model.modules()] == modes
    np.testing.assert_array_equal(found.boxes, expected.boxes)
    np.testing.assert_array_equal(found.stage_scores, expected.stage_scores)


def test_ious_by_hand():
    path = np.array([[[0, 0, 10, 10], [0, 0, 20, 10], [0, 0, 20, 20]]], np.float32)
    one = Trace(boxes=path, stage_scores=np.zeros((1, 2)), scores=np.ones(1), labels=np.ones(1, int))
    np.testing.assert_allclose(one.ious, [[0.25, 0.5, 1.0]])


def test_a_path_in_the_place_of_the_detector_is_refused():
    with pytest.raises(UserError, match="model is 'starter'; give a detector"):
        trace("starter", torch.zeros(3, 64, 64))


def test_an_image_without_detections():
    found = trace(load("starter", score_threshold=1.0), torch.zeros(3, 64, 64))
    assert (found.boxes.shape, found.stage_scores.shape, len(found.labels)) == ((0, 4, 4), (0, 3), 0)
