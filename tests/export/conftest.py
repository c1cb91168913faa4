"""Fixtures: detectors small enough to export in a test that still detect something everywhere."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from cascade_rcnn import create_model, save
from cascade_rcnn.data.shapes import CLASSES, draw
from cascade_rcnn.models.detector import Detector

OPTIONS = {"backbone_width": 8, "pyramid_channels": 16, "rpn_channels": 16, "head_width": 32}
OPTIONS |= {"proposals": 50, "min_size": 96, "max_size": 160, "score_threshold": 0.02}


def make(name: str, **options) -> Detector:
    """Return a thin, untrained detector of a named architecture for the classes of `shapes`."""
    torch.manual_seed(0)
    return create_model(name, categories=CLASSES, **(OPTIONS | options)).eval()


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a cascade of two stages; a third would be captured like the second."""
    path = tmp_path_factory.mktemp("export") / "cascade.safetensors"
    save(make("cascade_rcnn_resnet18_fpn", stages=2), path)
    return path


@pytest.fixture(scope="session")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a detector of one stage, with position-sensitive heads and without a pyramid."""
    path = tmp_path_factory.mktemp("export") / "rfcn.safetensors"
    save(make("rfcn_resnet18"), path)
    return path


@pytest.fixture(scope="session")
def scene() -> Callable[[int, int], np.ndarray]:
    """Return a generated picture (H, W, 3) of a given size."""
    return lambda height, width: draw("val", 0, size=(height, width), seed=1).pixels
