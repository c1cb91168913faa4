"""The cost of a backbone against a count by hand; no test asserts a time."""

import pytest

from benchmarks import backbones
from cascade_rcnn import create_model

SIZE = {"size": (64, 96), "threads": 1}


@pytest.mark.slow
def test_the_cost_of_a_resnet():
    """ResNet-18's 7x7, 3x3 and 1x1 convolutions on an image of 64 x 96 pixels."""
    found = backbones.cost("resnet18", **SIZE, options={"min_size": None})
    model = create_model("cascade_rcnn_resnet18_fpn", 80)
    assert found["parameters"] == pytest.approx(sum(p.numel() for p in model.parameters()) / 1e6, rel=1e-3)
    cells = [64 * 96 // 4**k for k in range(1, 6)]  # at strides 2 to 32
    products = cells[0] * 64 * 3 * 49
    for k, channels in enumerate((64, 128, 256, 512)):
        first = channels if k == 0 else channels // 2
        products += cells[k + 1] * channels * 9 * (first + 3 * channels) + (k > 0) * cells[k + 1] * channels * first
    assert found["own"] == pytest.approx(2 * products / 1e9, rel=1e-6)
    assert found["gflops"] > found["own"]


def test_time_and_memory_are_measured():
    options = {"min_size": None, "pyramid_channels": 16, "head_width": 16, "proposals": 20}
    for found in (
        backbones.inference("resnet18", **SIZE, options=options),
        backbones.step("resnet18", checkpointing=False, **SIZE, options=options),
    ):
        assert found["seconds"] > 0
        assert found["peak"] > 100
