"""torchvision's operators without torchvision's Python package."""

import subprocess
import sys

import pytest
import torch
import torchvision

from cascade_rcnn import create_model, operators, save


def test_nms_is_torchvision_s():
    generator = torch.Generator().manual_seed(0)
    corner = 50 * torch.rand(200, 2, generator=generator)
    boxes = torch.cat([corner, corner + 5 + 20 * torch.rand(200, 2, generator=generator)], dim=1)
    scores = torch.rand(200, generator=generator)
    assert torch.equal(operators.nms(boxes, scores, 0.4), torchvision.ops.nms(boxes, scores, 0.4))


def test_two_boxes_that_overlap_by_a_third():
    boxes = torch.tensor([[0.0, 0, 10, 10], [5, 0, 15, 10]])  # 50 of 150
    scores = torch.tensor([0.3, 0.6])
    assert operators.nms(boxes, scores, 0.34).tolist() == [1, 0]
    assert operators.nms(boxes, scores, 0.33).tolist() == [1]


def test_what_starts_often_starts_without_it_and_without_torch_s_compiler(tmp_path):
    """Neither importing the package nor the first prediction waits for them."""
    save(create_model("cascade_rcnn_resnet18_fpn", 2, backbone_width=8, pyramid_channels=8), tmp_path / "x.safetensors")
    code = """
import sys, numpy, cascade_rcnn
import cascade_rcnn.engine.predictor, cascade_rcnn.evaluation, cascade_rcnn.data
print("imported:", *({"torchvision", "torch._dynamo"} & set(sys.modules)))
cascade_rcnn.load(sys.argv[1]).predict(numpy.zeros((64, 64, 3), numpy.uint8))
print("predicted:", *({"torchvision", "torch._dynamo"} & set(sys.modules)))
"""
    command = [sys.executable, "-W", "ignore", "-c", code, str(tmp_path / "x.safetensors")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["imported:", "predicted:"]


@pytest.mark.slow
def test_where_the_library_is_not_found_torchvision_is_imported():
    code = """
import importlib.util, sys
importlib.util.find_spec, find = lambda name: None, importlib.util.find_spec
from cascade_rcnn import operators
importlib.util.find_spec = find
import torch
print("torchvision" in sys.modules, operators.nms(torch.zeros(1, 4), torch.ones(1), 0.5).tolist())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["True", "[0]"], done.stderr
