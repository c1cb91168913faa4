"""Measured statistics of the regression targets."""

import numpy as np
import pytest
import torch

from cascade_rcnn import boxes as box_ops
from cascade_rcnn import create_model
from cascade_rcnn.errors import UserError
from cascade_rcnn.evaluation.quality import (
    LocalizationCurve,
    RegressionTargets,
    regression_targets,
    training_samples,
    trajectory,
)
from cascade_rcnn.structures import Proposals, Targets

TINY = {"backbone_width": 8, "pyramid_channels": 8, "head_width": 16, "proposals": 40, "rois": 64, "min_size": None}
IMAGE = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0))
TARGET = {"boxes": torch.tensor([[5.0, 6, 40, 50], [30, 8, 62, 60]]), "labels": torch.tensor([1, 2])}
NOTHING = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}


def model(name: str = "cascade_rcnn_resnet18_fpn", **options):
    torch.manual_seed(0)
    return create_model(name, 2, **(TINY | options))


@pytest.mark.parametrize(
    ("name", "stages"),
    [("cascade_rcnn_resnet18_fpn", 3), ("iterative_bbox_rfcn_resnet18", 1), ("integral_loss_resnet18_fpn", 1)],
)
def test_each_trained_stage_is_measured(name, stages):
    found = regression_targets(model(name), [([IMAGE, IMAGE], [TARGET, NOTHING]), ([IMAGE], [TARGET])])
    assert len(found.deltas) == len(found.ious) == len(found.mean) == len(found.std) == stages
    for deltas, ious in zip(found.deltas, found.ious, strict=True):
        assert deltas.shape == (len(ious), 4)
        assert (ious >= 0.5).all()
        assert (np.abs(deltas[:, :2]) <= 0.5).all()  # at IoU 0.5 the centre is off by at most half a box
    np.testing.assert_allclose(found.mean[0], found.deltas[0].mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(found.std[0], found.deltas[0].std(axis=0), rtol=1e-5)


def test_targets_by_hand(monkeypatch):
    """Proposals at known offsets: deltas follow equation 2, without any stage's normalisation; stage 2 is stricter."""
    cascade = model(semantics="paper", stages=2, stage_stds=((0.5,) * 4, (0.7,) * 4))
    for head in cascade.roi_heads.heads:
        torch.nn.init.zeros_(head.regressor.weight)  # type: ignore[union-attr]
    boxes = torch.tensor([[[9.0, 6, 44, 50], [5, 6, 30, 50], [50, 50, 60, 60]]])  # IoU .79, .71 and 0
    given = Proposals(boxes, torch.ones(1, 3, dtype=torch.bool))
    monkeypatch.setattr(cascade, "propose", lambda *_: given)
    truth = {"boxes": TARGET["boxes"][:1], "labels": TARGET["labels"][:1]}
    found = regression_targets(cascade, [([IMAGE], [truth])])
    expected = box_ops.encode(torch.cat([boxes[0, :2], truth["boxes"]]), truth["boxes"].expand(3, 4))
    order = np.argsort(found.ious[0])
    np.testing.assert_allclose(found.deltas[0][order], expected.numpy()[[1, 0, 2]], atol=1e-6)
    assert len(found.deltas[1]) == 3  # nothing moves: both again, stage 1's moved ground truth, and its own at IoU 1


def test_the_model_is_left_as_it_was():
    cascade = model()
    before = {name: value.clone() for name, value in cascade.state_dict().items()}
    assert cascade.training
    regression_targets(cascade, [([IMAGE], [TARGET])])
    assert cascade.training
    assert cascade.rpn.training
    torch.testing.assert_close(dict(cascade.state_dict()), before, rtol=0, atol=0)


def test_too_little_to_measure():
    few = RegressionTargets([np.zeros((5, 4))], [np.zeros(5)])
    assert few.note is not None
    assert "only 5 positives" in few.note
    one = RegressionTargets([np.zeros((1, 4))], [np.zeros(1)])
    assert one.note == "a stage has only 1 positive; measure on more images"
    assert RegressionTargets([np.zeros((5000, 4))], [np.zeros(5000)]).note is None
    with pytest.raises(UserError, match="no positives"):
        regression_targets(model(), [([IMAGE], [NOTHING])])


def test_the_options_take_what_is_measured():
    found = regression_targets(model(), [([IMAGE], [TARGET])])
    again = model(stage_means=found.mean, stage_stds=found.std)
    assert [stage.std for stage in again.config.stages] == list(found.std)
    assert [stage.mean for stage in again.config.stages] == list(found.mean)


def test_samples_hold_background_and_no_ground_truth():
    found = training_samples(model(), [([IMAGE, IMAGE], [TARGET, NOTHING])])
    assert len(found.ious) == len(found.deltas) == 3
    for ious, deltas in zip(found.ious, found.deltas, strict=True):
        assert deltas.shape == (len(ious), 4)
        assert ((ious >= 0) & (ious < 0.9999)).all()
    assert (found.ious[0] < 0.5).any()


def test_samples_by_hand(monkeypatch):
    """Two boxes of known IoU and one away from the object; the appended ground truth is not counted."""
    cascade = model(stages=1)
    boxes = torch.tensor([[[9.0, 6, 44, 50], [5, 6, 30, 50], [50, 50, 60, 60]]])
    given = Proposals(boxes, torch.ones(1, 3, dtype=torch.bool))
    monkeypatch.setattr(cascade, "propose", lambda *_: given)
    found = training_samples(cascade, [([IMAGE], [{"boxes": TARGET["boxes"][:1], "labels": TARGET["labels"][:1]}])])
    np.testing.assert_allclose(np.sort(found.ious[0]), [0, 25 / 35, 31 / 39], atol=1e-6)


def test_samples_do_not_count_what_a_stage_makes_of_ground_truth(monkeypatch):
    """Stage 1 moves all boxes by a tenth of their width; only proposals count, not old or new ground truth."""
    cascade = model(semantics="paper", stages=3)
    for head in cascade.roi_heads.heads:
        torch.nn.init.zeros_(head.regressor.weight)  # type: ignore[union-attr]
        head.regressor.bias.data[:] = torch.tensor([1.0, 0, 0, 0])  # type: ignore[index, union-attr]
    given = Proposals(torch.tensor([[[9.0, 6, 44, 50], [50, 50, 60, 60]]]), torch.ones(1, 2, dtype=torch.bool))
    monkeypatch.setattr(cascade, "propose", lambda *_: given)
    found = training_samples(cascade, [([IMAGE], [{"boxes": TARGET["boxes"][:1], "labels": TARGET["labels"][:1]}])])
    left = (9.0, 9 + 3.5, 9 + 3.5 + 1.75)  # standard deviations .1 and .05 of a width of 35
    for ious, x in zip(found.ious, left, strict=True):
        assert sorted(ious) == pytest.approx([0, (40 - x) / (x + 35 - 5)], abs=1e-5)


@pytest.mark.parametrize("class_agnostic", [True, False])
def test_a_trajectory_is_what_each_stage_hands_on(class_agnostic):
    cascade = model(class_agnostic=class_agnostic).eval()
    batch = cascade.preprocess([IMAGE, IMAGE])
    with torch.no_grad():
        features = cascade.features(batch.pixels)
        proposals = cascade.propose(features, batch.sizes)
        found = trajectory(cascade.roi_heads, features, proposals, batch.sizes)
        assert len(found) == 4
        for stage, boxes in enumerate(found):
            expected = cascade.roi_heads.proposals_after(stage, features, proposals, batch.sizes).boxes
            torch.testing.assert_close(boxes, box_ops.clip(expected, batch.sizes))


def test_localization_by_hand():
    """IoU .55 becomes .75, .75 becomes .55; a box with IoU .4 and a padded one do not count."""
    truth = Targets(
        torch.tensor([[[0.0, 0, 100, 10]]]), torch.ones(1, 1, dtype=torch.int64), torch.ones(1, 1).bool(), None
    )

    def of_width(*widths: float) -> torch.Tensor:
        return torch.tensor([[[0.0, 0, width, 10] for width in widths]])

    curve = LocalizationCurve(steps=1)
    valid = torch.tensor([[True, True, True, False]])
    for _ in range(2):
        curve.add([of_width(57, 77, 40, 90), of_width(77, 57, 99, 99)], valid, truth)
    assert curve.count.tolist() == [0, 2, 0, 0, 0, 2, 0, 0, 0, 0]
    np.testing.assert_allclose(curve.mean[:, 1], [0.57, 0.77], rtol=1e-5)
    np.testing.assert_allclose(curve.mean[:, 5], [0.77, 0.57], rtol=1e-5)
    values = curve.to_dict()
    assert values["mean"][0][0] is None
    assert values["count"] == curve.count.tolist()


def test_a_perfect_box_falls_into_the_last_bin():
    truth = Targets(
        torch.tensor([[[0.0, 0, 10, 10]]]), torch.ones(1, 1, dtype=torch.int64), torch.ones(1, 1).bool(), None
    )
    curve = LocalizationCurve(steps=0)
    curve.add([truth.boxes], torch.ones(1, 1, dtype=torch.bool), truth)
    assert curve.count.tolist() == [0] * 9 + [1]
