"""Equation 3 by hand: the same head applied repeatedly."""

import pytest
import torch
from torch import Tensor, nn

from cascade_rcnn import create_model
from cascade_rcnn.config import InferenceConfig, SamplingConfig, SmoothL1Config, StageConfig
from cascade_rcnn.config.presets import PRESETS
from cascade_rcnn.heads.cascade import Cascade
from cascade_rcnn.heads.iterative import iterative_bbox
from cascade_rcnn.losses import SmoothL1Loss
from cascade_rcnn.models import checkpoint
from cascade_rcnn.structures import Proposals, Targets

SEMANTICS = {name: preset.semantics for name, preset in PRESETS.items()}
DETECTRON2 = SEMANTICS["detectron2"]
L1 = SmoothL1Loss(SmoothL1Config())
SIZES = torch.tensor([[100.0, 100]])
PROPOSALS = Proposals(torch.tensor([[[10.0, 10, 20, 20]]]), torch.ones(1, 1, dtype=torch.bool))
TINY = {"backbone_width": 8, "pyramid_channels": 8, "head_width": 16, "proposals": 40, "rois": 16, "min_size": None}


class Right(nn.Module):
    """A head that moves each box right by its width; the class becomes more likely the farther right the box is."""

    def __init__(self) -> None:
        super().__init__()
        self.delta = nn.Parameter(torch.tensor([1.0, 0, 0, 0]))

    def forward(self, features: list[Tensor], boxes: Tensor) -> tuple[Tensor, Tensor]:
        logits = torch.stack([torch.zeros_like(boxes[..., 0]), boxes[..., 0] / 100], dim=-1)
        return logits, self.delta.expand(*boxes.shape[:2], 1, 4)


def method(iterations: int, semantics=DETECTRON2, **inference) -> Cascade:
    stage = StageConfig(std=(1.0, 1.0, 1.0, 1.0))
    return iterative_bbox(
        Right(), stage, iterations, L1, semantics, SamplingConfig(), InferenceConfig(score_threshold=0.0, **inference)
    )


@pytest.mark.parametrize("semantics", SEMANTICS.values(), ids=SEMANTICS)
@pytest.mark.parametrize("iterations", [1, 2, 5])
def test_a_box_moves_at_each_iteration_and_is_classified_where_the_last_one_finds_it(iterations, semantics):
    found = method(iterations, semantics)([], PROPOSALS, SIZES)
    left = 10.0 + 10 * iterations
    torch.testing.assert_close(found.boxes[0, 0], torch.tensor([left, 10, left + 10, 20]))
    assert found.scores[0, 0].item() == pytest.approx(torch.tensor((left - 10) / 100).sigmoid().item())


def test_every_iteration_can_be_read():
    lefts = [method(5, stage=t)([], PROPOSALS, SIZES).boxes[0, 0, 0].item() for t in (1, 2, 3, 4, 5)]
    assert lefts == pytest.approx([20, 30, 40, 50, 60])


def losses_of(model: Cascade, truth: Targets) -> dict[str, Tensor]:
    return model.loss(list(model.train_stages([], PROPOSALS, truth, SIZES)))


def test_training_is_the_baseline_s():
    truth = Targets(torch.tensor([[[11.0, 10, 21, 20]]]), torch.ones(1, 1).long(), torch.ones(1, 1).bool(), None)
    assert (method(3).trained, len(method(3).stages)) == (1, 3)
    one, three = (losses_of(method(n), truth) for n in (1, 3))
    assert set(one) == {"loss_classifier", "loss_box_reg"}
    assert {k: v.item() for k, v in one.items()} == {k: v.item() for k, v in three.items()}


def test_a_baseline_s_checkpoint_is_iterated(tmp_path):
    torch.manual_seed(0)
    baseline = create_model("faster_rcnn_resnet18_fpn", 2, score_threshold=0.0, **TINY).eval()
    nn.init.normal_(baseline.roi_heads.heads[0].regressor.weight, std=0.5)  # type: ignore[union-attr]
    checkpoint.save(baseline, tmp_path / "baseline.safetensors")
    image = [torch.rand(3, 64, 64)]
    iterated = checkpoint.load(tmp_path / "baseline.safetensors", iterations=3)
    assert iterated.config.method == "iterative"
    once = checkpoint.load(tmp_path / "baseline.safetensors", iterations=3, test_stage=1)
    with torch.no_grad():
        expected, one, three = (model(image)[0]["boxes"] for model in (baseline, once, iterated))
    assert torch.equal(one, expected)
    assert not torch.equal(three, expected)
    named = create_model("iterative_bbox_resnet18_fpn", 2, **TINY)
    named.load_state_dict(baseline.state_dict())
