"""A folded network computes what it computed."""

import pytest
import torch
from torch import nn

from cascade_rcnn.config import Backbone
from cascade_rcnn.models.folding import fold_norms
from cascade_rcnn.models.resnet import FixedBatchNorm, ResNet


@pytest.mark.parametrize("norm", ["frozen", "affine", "batch"])
@pytest.mark.parametrize("depth", [18, 50])
@torch.no_grad()
def test_features_stay_and_norms_go(norm, depth):
    torch.manual_seed(0)
    network = ResNet(Backbone(depth=depth, stem=8, planes=8, norm=norm)).eval()
    for module in network.modules():
        if isinstance(module, FixedBatchNorm | nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            module.bias.normal_()
    pixels = torch.randn(1, 3, 64, 64)
    before = network(pixels)
    fold_norms(network)
    assert not any(isinstance(m, FixedBatchNorm | nn.BatchNorm2d) for m in network.modules())
    for one, other in zip(before, network(pixels), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
