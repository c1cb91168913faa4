"""Res2Net: the splits of its bottlenecks, folding, and the weights it starts from."""

import pytest
import torch
from torch import nn

from cascade_rcnn.config import NormConfig, Res2NetConfig
from cascade_rcnn.models.backbones.pretrained import load_pretrained
from cascade_rcnn.models.build import build_backbone
from cascade_rcnn.models.folding import fold_norms

TINY = Res2NetConfig(depth=50, stem=8, planes=8, base_width=32, norm=NormConfig(kind="batch"))


def test_the_parts_of_a_block_build_on_one_another_except_in_the_first():
    """A change to the first split's convolution reaches the second and third splits only in later blocks."""
    backbone = build_backbone(TINY).eval()
    for number, reached in ((0, [True, False, False]), (1, [True, True, True])):
        block, moved = backbone.layer2[number], list[torch.Tensor]()
        hooks = [conv.register_forward_hook(lambda _, __, x, seen=moved: seen.append(x)) for conv in block.convs]
        x = torch.randn(1, block.conv1.in_channels, 8, 8)
        with torch.no_grad():
            block(x)
            block.convs[0].weight.mul_(2)
            block(x)
        for hook in hooks:
            hook.remove()
        assert [not torch.equal(a, b) for a, b in zip(moved[:3], moved[3:], strict=True)] == reached


@torch.no_grad()
def test_weights_of_timm_are_loaded_and_give_the_same_but_for_a_pool_of_layer1(tmp_path):
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    theirs = timm.models.resnet.ResNet(
        timm.models.res2net.Bottle2neck, (3, 4, 6, 3), 2, base_width=26, stem_width=4, stem_type="deep", avg_down=True,
        channels=(8, 16, 32, 64), block_args={"scale": 4},
    ).eval()  # fmt: skip
    torch.save(theirs.state_dict(), tmp_path / "timm.pth")
    config = Res2NetConfig(depth=50, stem=8, planes=8)
    ours = build_backbone(config).eval()
    load_pretrained(ours, config, tmp_path / "timm.pth")
    theirs.layer1[0].pool = None
    image = torch.randn(1, 3, 64, 96)
    expected = []
    for layer in ("layer1", "layer2", "layer3", "layer4"):
        theirs.get_submodule(layer).register_forward_hook(lambda _, __, x: expected.append(x))
    theirs(image)
    for found, other in zip(ours(image), expected, strict=True):
        torch.testing.assert_close(found, other, rtol=1e-4, atol=1e-4 * float(other.abs().max()))


@torch.no_grad()
def test_every_normalisation_folds():
    torch.manual_seed(0)
    backbone = build_backbone(TINY)
    image = torch.randn(2, 3, 64, 64)
    backbone.train()(image)  # non-trivial statistics
    expected = backbone.eval()(image)
    fold_norms(backbone)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in backbone.modules())
    for found, other in zip(backbone(image), expected, strict=True):
        torch.testing.assert_close(found, other, rtol=1e-4, atol=1e-4 * float(other.abs().max()))
