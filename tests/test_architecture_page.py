"""The examples of docs/architecture.md, each built into a detector and trained for one step."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cascade_rcnn import UserError, create_model, save
from cascade_rcnn.config import replace
from cascade_rcnn.models import build as builder
from cascade_rcnn.models.detector import Detector

PAGE = Path(__file__).resolve().parents[1] / "docs" / "architecture.md"
TINY = {"backbone_width": 8, "pyramid_channels": 8, "head_width": 8, "proposals": 20, "rois": 16, "min_size": None}
TARGET = {"boxes": torch.tensor([[8.0, 8, 40, 40]]), "labels": torch.tensor([1]), "weight": torch.tensor([3.0])}


@pytest.fixture(scope="module")
def names() -> dict[str, Any]:
    found: dict[str, Any] = {"__name__": "page"}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.S):
        exec(compile(block, str(PAGE), "exec"), found)
    return found


def step(model: Detector) -> dict[str, torch.Tensor]:
    losses = model.train()([torch.rand(3, 64, 96)], [TARGET])
    sum(losses.values()).backward()
    return losses


def test_a_backbone(names, monkeypatch):
    monkeypatch.setitem(builder.BACKBONES, names["StridedConfig"], names["Strided"])
    config = create_model("cascade_rcnn_resnet18_fpn", 2, **TINY).config
    model = builder.build(replace(config, backbone=names["StridedConfig"](width=6)))
    step(model)
    assert all(p.grad is not None for p in model.backbone.parameters())
    assert "boxes" in model.eval()([torch.rand(3, 50, 70)])[0]


def test_a_box_loss(names, monkeypatch):
    monkeypatch.setitem(builder.BOX_LOSSES, names["CornerLossConfig"], names["CornerLoss"])
    config = create_model("faster_rcnn_resnet18_fpn", 2, **TINY).config
    loss = names["CornerLossConfig"]()
    losses = step(builder.build(replace(config, box_loss=loss, rpn=replace(config.rpn, box_loss=loss))))
    assert losses["loss_box_reg"].item() > 0


def test_a_task(names, tmp_path):
    """It is trained on the stages' positives, and its predictions accompany the boxes of the detections."""
    model = names["with_sizes"](create_model("cascade_rcnn_resnet18_fpn", 2, score_threshold=0.0, **TINY))
    (task,) = model.tasks
    assert step(model)["loss_weight"].item() == pytest.approx(3.0)  # at 0, for an object of 3
    assert task.guess.grad.item() == pytest.approx(-1.0)
    found = model.eval()([torch.rand(3, 64, 96)])[0]
    assert found["weight"].shape == found["scores"].shape
    assert len(found["weight"]) > 0
    assert len(model.predict(np.zeros((50, 70, 3), np.uint8), threshold=0.0)) > 0
    with pytest.raises(UserError, match="not saved, as its config has no entry for a task"):
        save(model, tmp_path / "model.safetensors")
