"""Which losses show whether a model learns."""

import pytest
import torch

from cascade_rcnn.engine.training.fixed_targets import fixed_target_losses
from cascade_rcnn.models.create import create_model

THIN = {"backbone_width": 8, "pyramid_channels": 8, "head_width": 8, "proposals": 20, "min_size": 64}
RPN = ["loss_objectness", "loss_rpn_box_reg"]


@pytest.mark.parametrize(
    ("architecture", "names"),
    [
        ("cascade_rcnn_resnet18_fpn", [*RPN, "loss_classifier_stage1"]),
        ("faster_rcnn_resnet18_fpn", [*RPN, "loss_classifier"]),
        ("integral_loss_resnet18_fpn", [*RPN, "loss_classifier"]),
    ],
)
def test_of_proposals_and_the_first_classifier(architecture, names):
    torch.manual_seed(0)
    model = create_model(architecture, 2, **THIN).train()
    target = {"boxes": torch.tensor([[8.0, 8.0, 40.0, 40.0]]), "labels": torch.tensor([1])}
    losses = model([torch.rand(3, 64, 64)], [target])
    found = fixed_target_losses(losses)
    assert len(found) == 3 < len(losses)
    assert all(loss is losses[name] for loss, name in zip(found, names, strict=True))
