"""A folded network computes the same as before."""

import pytest
import torch
from torch import nn

from cascade_rcnn import create_model
from cascade_rcnn.config import DeformableConfig, NormConfig, ResNetConfig
from cascade_rcnn.layers.normalization import FixedBatchNorm
from cascade_rcnn.models.backbones.resnet import ResNet
from cascade_rcnn.models.folding import fold_norms, lower_weights


@pytest.mark.parametrize("norm", ["frozen", "affine", "batch"])
@pytest.mark.parametrize(("depth", "deformable"), [(18, None), (50, None), (50, DeformableConfig(modulated=True))])
@torch.no_grad()
def test_features_stay_and_norms_go(norm, depth, deformable):
    torch.manual_seed(0)
    config = ResNetConfig(depth=depth, stem=8, planes=8, deformable=deformable, norm=NormConfig(kind=norm))
    network = ResNet(config).eval()
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


@pytest.mark.parametrize("name", ["cascade_rcnn_resnet18_fpn", "cascade_rfcn_resnet18"])
@torch.inference_mode()
def test_lower_weights_compute_what_autocast_does(name):
    torch.manual_seed(0)
    small = {"backbone_width": 8, "pyramid_channels": 16, "head_width": 32, "proposals": 50, "min_size": None}
    detector = create_model(name, 3, **small).eval()
    image = [torch.rand(3, 64, 96)]
    fold_norms(detector.backbone)
    with torch.autocast("cpu", torch.bfloat16):
        before = detector(image)[0]
        lower_weights(detector, torch.bfloat16)
        after = detector(image)[0]
    assert detector.rpn.deltas.weight.dtype == torch.bfloat16
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_a_pyramid_s_and_a_head_s_batch_norms_are_folded_too():
    torch.manual_seed(0)
    model = create_model(
        "faster_rcnn_resnet18_fpn",
        2,
        backbone_width=8,
        pyramid_channels=8,
        head_width=8,
        head="4conv1fc",
        norm="batch",
        min_size=None,
        score_threshold=0.0,
        proposals=20,
    ).train()
    image, target = torch.rand(3, 64, 64), {"boxes": torch.tensor([[8.0, 8, 40, 40]]), "labels": torch.tensor([1])}
    model([image], [target])  # gives every normalisation its own statistics
    model.eval()
    with torch.inference_mode():
        features = model.features(model.preprocess([image]).pixels)
        boxes = torch.tensor([[[4.0, 4, 40, 50], [10, 10, 60, 60]]])
        expected = (*features, *model.roi_heads.heads[0](features, boxes))
        fold_norms(model)
        again = model.features(model.preprocess([image]).pixels)
        found = (*again, *model.roi_heads.heads[0](again, boxes))
    assert not [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
