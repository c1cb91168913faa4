"""Fixtures: a model and a photo for the page."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch

from cascade_rcnn.models.create import create_model
from cascade_rcnn.webapp.session import Named

THIN = {"backbone_width": 8, "pyramid_channels": 8, "head_width": 8, "proposals": 20, "min_size": 64}


@pytest.fixture(scope="session")
def named() -> Named:
    torch.manual_seed(0)
    model = create_model("cascade_rcnn_resnet18_fpn", 2, score_threshold=0.0, max_detections=5, **THIN)
    return Named("thin.safetensors", model.eval())


@pytest.fixture(scope="session")
def masked() -> Named:
    torch.manual_seed(0)
    options = {"score_threshold": 0.0, "max_detections": 5, "mask_channels": 8, **THIN}
    return Named("masks.safetensors", create_model("cascade_mask_rcnn_resnet18_fpn", 2, **options).eval())


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    PIL.Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 90, 3), np.uint8)).save(path)
    return path
