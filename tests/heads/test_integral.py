"""Equation 6 by hand: classifiers for U in parallel, one regressor."""

import math

import pytest
import torch
from torch import Tensor, nn

from cascade_rcnn.config import InferenceConfig, SamplingConfig, SmoothL1Config, StageConfig
from cascade_rcnn.config.presets import PRESETS
from cascade_rcnn.errors import UserError
from cascade_rcnn.heads.integral import IntegralLoss
from cascade_rcnn.losses import SmoothL1Loss
from cascade_rcnn.structures import Proposals, Targets

SEMANTICS = {name: preset.semantics for name, preset in PRESETS.items()}
DETECTRON2, MMDET = SEMANTICS["detectron2"], SEMANTICS["mmdet"]
L1 = SmoothL1Loss(SmoothL1Config())
SIZES = torch.tensor([[100.0, 100]])
STAGES = tuple(StageConfig(iou=u) for u in (0.5, 0.6, 0.7))
# probabilities of background and the single class: 1/2 1/2, 1/4 3/4, 3/4 1/4
LOGITS = (0.0, 0.0, 0.0, math.log(3), math.log(3), 0.0)


class Fixed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.logits, self.deltas = nn.Parameter(torch.tensor(LOGITS)), nn.Parameter(torch.zeros(1, 4))

    def forward(self, features: list[Tensor], boxes: Tensor) -> tuple[Tensor, Tensor]:
        return self.logits.expand(*boxes.shape[:2], -1), self.deltas.expand(*boxes.shape[:2], -1, -1)


def method(semantics=DETECTRON2, stages=STAGES, **inference) -> IntegralLoss:
    sampling = SamplingConfig(rois=16, positive_fraction=1.0)
    return IntegralLoss(Fixed(), stages, L1, semantics, sampling, InferenceConfig(score_threshold=0.0, **inference))


def losses_of(model: IntegralLoss, proposals: Proposals, targets: Targets) -> dict[str, Tensor]:
    return model.loss(list(model.train_stages([], proposals, targets, SIZES)))


def test_each_classifier_learns_by_its_own_u_and_the_regressor_by_the_lowest():
    """Boxes at IoU 1 (appended ground truth), .65, .55 and 0: classifiers see 3, 2 and 1 of the 4 as the object."""
    boxes = torch.tensor([[[0.0, 0, 10, 6.5], [0, 0, 10, 5.5], [50, 50, 60, 60]]])
    proposals = Proposals(boxes, torch.ones(1, 3, dtype=torch.bool))
    truth = Targets(torch.tensor([[[0.0, 0, 10, 10]]]), torch.ones(1, 1).long(), torch.ones(1, 1).bool(), None)
    found = losses_of(method(), proposals, truth)
    half, quarter, most = -math.log(1 / 2), -math.log(1 / 4), -math.log(3 / 4)
    expected = (4 * half) + (2 * most + 2 * quarter) + (1 * quarter + 3 * most)
    assert found["loss_classifier"].item() == pytest.approx(expected / 4, rel=1e-5)
    # L1 of the deltas over their std: the centre is off by (10 - h) / 2, the height by log 10 / h
    regression = sum((10 - h) / 2 / h / 0.1 + math.log(10 / h) / 0.2 for h in (6.5, 5.5))
    assert found["loss_box_reg"].item() == pytest.approx(regression / 4, rel=1e-5)
    assert set(found) == {"loss_classifier", "loss_box_reg"}


@pytest.mark.parametrize(
    ("stage", "ensemble", "expected"),
    [(None, True, 1 / 2), (2, True, 5 / 8), (1, True, 1 / 2), (None, False, 1 / 4), (2, False, 3 / 4)],
)
def test_the_classifiers_average_or_one_alone(stage, ensemble, expected):
    proposals = Proposals(torch.tensor([[[10.0, 10, 20, 20]]]), torch.ones(1, 1, dtype=torch.bool))
    found = method(stage=stage, ensemble=ensemble)([], proposals, SIZES)
    assert found.scores[0, 0].item() == pytest.approx(expected)
    assert found.boxes[0, 0].tolist() == pytest.approx([10, 10, 20, 20])


def test_mmdetection_averages_logits():
    proposals = Proposals(torch.tensor([[[10.0, 10, 20, 20]]]), torch.ones(1, 1, dtype=torch.bool))
    found = method(MMDET, stage=2)([], proposals, SIZES)
    assert found.scores[0, 0].item() == pytest.approx(torch.tensor(math.log(3) / 2).sigmoid().item())


@pytest.mark.parametrize("semantics", SEMANTICS.values(), ids=SEMANTICS)
def test_without_objects_every_weight_has_a_gradient(semantics):
    nothing = Targets(torch.zeros(1, 1, 4), torch.zeros(1, 1).long(), torch.zeros(1, 1).bool(), None)
    model = method(semantics)
    proposals = Proposals(torch.tensor([[[10.0, 10, 20, 20]]]), torch.ones(1, 1, dtype=torch.bool))
    sum(losses_of(model, proposals, nothing).values()).backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.parameters())


def test_qualities_ascend():
    with pytest.raises(UserError, match="in ascending order"):
        method(stages=STAGES[::-1])


def test_boxes_are_handed_on_by_the_class_that_the_classifiers_agree_on():
    """The average favours the first of two classes; its regressor moves by a tenth of the width, the other by none."""
    model = method()
    likely = [0.0, 2, 1, 0, 1, 2, 0, 3, 1]  # classifier by classifier: background and the two classes
    model.heads[0].logits = nn.Parameter(torch.tensor(likely))
    model.heads[0].deltas = nn.Parameter(torch.tensor([[1.0, 0, 0, 0], [0.0, 0, 0, 0]]))
    proposals = Proposals(torch.tensor([[[10.0, 10, 20, 20]]]), torch.ones(1, 1, dtype=torch.bool))
    assert model.proposals_after(1, [], proposals, SIZES).boxes[0, 0].tolist() == pytest.approx([11, 10, 21, 20])
