"""ResNet against torchvision's, plain and dilated."""

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.ops import FrozenBatchNorm2d

from cascade_rcnn.config import (
    ContextConfig,
    ConvNeXtConfig,
    DeformableConfig,
    MViTConfig,
    NormConfig,
    Res2NetConfig,
    SwinConfig,
    VGGConfig,
)
from cascade_rcnn.config import ResNetConfig as Config
from cascade_rcnn.errors import UserError
from cascade_rcnn.models.backbones.pretrained import load_pretrained
from cascade_rcnn.models.backbones.resnet import ResNet
from cascade_rcnn.models.build import build_backbone

LAYERS = ("layer1", "layer2", "layer3", "layer4")
TINY = {"stem": 8, "planes": 8}


def random_statistics(module: nn.Module) -> nn.Module:
    """Randomise all normalisations as in a trained network, with values that stay in range."""
    generator = torch.Generator().manual_seed(0)
    for part in module.modules():
        if isinstance(getattr(part, "running_var", None), torch.Tensor):
            for name, low, high in (("weight", 0.2, 0.6), ("bias", -0.2, 0.2), ("running_mean", -0.2, 0.2)):
                value = torch.empty(part.running_var.shape).uniform_(low, high, generator=generator)
                getattr(part, name).data.copy_(value)
            part.running_var.uniform_(0.5, 2.0, generator=generator)
    return module


@pytest.mark.parametrize("depth", [18, 50])
@pytest.mark.parametrize("norm", ["frozen", "batch"])
def test_features_equal_torchvision_s(depth, norm, tmp_path):
    layer = FrozenBatchNorm2d if norm == "frozen" else nn.BatchNorm2d
    theirs = random_statistics(getattr(torchvision.models, f"resnet{depth}")(norm_layer=layer)).eval()
    save_file(theirs.state_dict(), tmp_path / "weights.safetensors")
    ours = ResNet(Config(depth=depth, norm=NormConfig(kind=norm))).eval()
    load_pretrained(ours, ours.config, tmp_path / "weights.safetensors")
    image = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = IntermediateLayerGetter(theirs, {name: name for name in LAYERS})(image)
        found = ours(image)
    assert [x.shape[1] for x in found] == list(ours.channels)
    for name, stride, x in zip(LAYERS, ours.strides, found, strict=True):
        assert x.shape[-2:] == (64 // stride, 96 // stride)
        torch.testing.assert_close(x, expected[name], rtol=1e-4, atol=1e-4)


def test_a_grouped_backbone_has_torchvision_s_shapes():
    with torch.device("meta"):
        theirs = torchvision.models.resnext101_32x8d().state_dict()
        ours = ResNet(Config(depth=101, groups=32, width_per_group=8, norm=NormConfig(kind="batch"))).state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items() if "fc." not in k}


def test_folding_fixed_statistics_equals_normalising():
    """`affine` has fixed statistics, trained scale and shift; batch norm in eval mode with the same numbers agrees."""
    torch.manual_seed(0)
    kinds = (NormConfig(kind="affine"), NormConfig(kind="batch"))
    folded, plain = (ResNet(Config(depth=18, norm=norm, **TINY)) for norm in kinds)
    plain.load_state_dict(random_statistics(folded).state_dict(), strict=False)
    image = torch.randn(1, 3, 64, 64)
    for a, b in zip(folded(image), plain.eval()(image), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    folded(image)[-1].sum().backward()
    assert folded.get_parameter("layer4.0.bn1.weight").grad is not None


def test_stride_in_the_first_or_the_middle_convolution():
    """Caffe's variant strides in the 1x1: weights and maps have the same sizes, but other values."""
    torch.manual_seed(0)
    caffe = ResNet(Config(depth=50, stride_in_1x1=True, **TINY))
    usual = ResNet(Config(depth=50, **TINY))
    usual.load_state_dict(caffe.state_dict())
    image = torch.randn(1, 3, 64, 64)
    ours, theirs = caffe(image), usual(image)
    assert [x.shape for x in ours] == [x.shape for x in theirs]
    torch.testing.assert_close(ours[0], theirs[0])  # layer1 has no stride
    assert not torch.allclose(ours[1], theirs[1], atol=1e-3)
    assert caffe.get_submodule("layer2.0.conv1").stride == (2, 2)
    assert usual.get_submodule("layer2.0.conv2").stride == (2, 2)


@pytest.mark.parametrize("frozen", range(6))
def test_freezing(frozen):
    backbone = build_backbone(Config(depth=18, norm=NormConfig(kind="affine"), frozen_stages=frozen, **TINY))
    parts = ["conv1", "layer1", "layer2", "layer3", "layer4"]
    for number, part in enumerate(parts):
        trained = {p.requires_grad for p in backbone.get_submodule(part).parameters()}
        assert trained == {number >= frozen}, part
    assert backbone.bn1.weight.requires_grad == (frozen == 0)


def test_frozen_statistics_do_not_move_in_training():
    backbone = ResNet(Config(depth=18, norm=NormConfig(kind="frozen"), **TINY)).train()
    before = {k: v.clone() for k, v in backbone.named_buffers()}
    backbone(torch.randn(2, 3, 64, 64))
    assert all(torch.equal(v, before[k]) for k, v in backbone.named_buffers())
    assert not any("bn" in name for name, _ in backbone.named_parameters())


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_random_weights_keep_values_in_range(depth):
    torch.manual_seed(0)
    with torch.no_grad():
        last = ResNet(Config(depth=depth, **TINY)).eval()(torch.randn(1, 3, 64, 64))[-1]
    assert bool(last.isfinite().all())
    assert last.abs().max() < 1e4


# -- weights files -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [18, 50])
def test_a_dilated_last_layer_keeps_stride_16_and_torchvision_s_names(depth):
    """torchvision's option dilates every block of the layer except the first; R-FCN dilates that one, too."""
    torch.manual_seed(0)
    ours = ResNet(Config(depth=depth, norm=NormConfig(kind="batch"), dilated=True, **TINY)).eval()
    plain = ResNet(Config(depth=depth, norm=NormConfig(kind="batch"), **TINY))
    assert ours.state_dict().keys() == plain.state_dict().keys()
    assert ours.strides == (4, 8, 16, 16)
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        maps = ours(x)
    assert [tuple(m.shape[-2:]) for m in maps] == [(16, 24), (8, 12), (4, 6), (4, 6)]
    kinds = {(c.dilation, c.padding, c.stride) for c in ours.layer4.modules() if getattr(c, "kernel_size", 0) == (3, 3)}
    assert kinds == {((2, 2), (2, 2), (1, 1))}


def test_a_dilated_resnet_equals_torchvision_s():
    torch.manual_seed(0)
    reference = torchvision.models.resnet50(replace_stride_with_dilation=[False, False, True]).eval()
    first = reference.layer4[0].conv2
    first.dilation = first.padding = (2, 2)  # as in R-FCN
    ours = ResNet(Config(depth=50, norm=NormConfig(kind="batch"), dilated=True)).eval()
    ours.load_state_dict({k: v for k, v in reference.state_dict().items() if not k.startswith("fc.")})
    x = torch.randn(1, 3, 64, 64)
    body = torch.nn.Sequential(*list(reference.children())[:8])
    with torch.no_grad():
        torch.testing.assert_close(ours(x)[-1], body(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("part", "added"), [("deformable", DeformableConfig(layers=(3, 4))), ("context", ContextConfig(layers=(3, 4)))]
)
def test_what_is_added_to_a_network_of_torchvision_begins_without_effect(part, added, tmp_path):
    torch.manual_seed(0)
    plain, more = (ResNet(Config(depth=50, **{part: value}, **TINY)) for value in (None, added))
    save_file(plain.state_dict(), tmp_path / "weights.safetensors")
    load_pretrained(more, more.config, tmp_path / "weights.safetensors")
    new = more.state_dict().keys() - plain.state_dict().keys()
    assert {name.split(".")[0] for name in new} == {"layer3", "layer4"}
    image = torch.randn(1, 3, 64, 64)
    maps = more(image)
    for one, other in zip(plain(image), maps, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    maps[-1].sum().backward()
    assert any(float(more.get_parameter(name).grad.abs().max()) > 0 for name in new)


@pytest.mark.parametrize("part", [{"deformable": DeformableConfig()}, {"context": ContextConfig()}])
def test_two_convolutions_a_block_take_neither(part):
    with pytest.raises(UserError, match="resnet18 has no bottlenecks"):
        Config(depth=18, **part)


EVERY = [
    *(Config(depth=50, **TINY), VGGConfig(planes=4)),
    Config(depth=50, deformable=DeformableConfig(), context=ContextConfig(), **TINY),
    *(SwinConfig(width=8, heads=1), ConvNeXtConfig(width=8), ConvNeXtConfig(width=8, depths=(1, 1, 5, 1))),
    ConvNeXtConfig(width=8, depths=(1, 1, 2, 1)),
    MViTConfig(width=8, depths=(1, 2, 2, 1), window=8),
    Res2NetConfig(depth=50, stem=8, planes=8),
]


@pytest.mark.parametrize("config", EVERY, ids=lambda config: config.label)
def test_the_layers_of_a_backbone_hold_every_parameter_once(config):
    backbone = build_backbone(config)
    layers = backbone.layers()
    assert len(layers) == config.layers
    held = [id(p) for layer in layers for p in layer.parameters()]
    assert sorted(held) == sorted(id(p) for p in backbone.parameters())


@pytest.mark.parametrize("config", EVERY, ids=lambda config: config.label)
@torch.inference_mode()
def test_memory_format_never_changes_a_backbone_s_maps(config):
    torch.manual_seed(0)
    backbone = build_backbone(config).eval()
    pixels = torch.randn(2, 3, 64, 96)
    expected = backbone(pixels)
    other = backbone.to(memory_format=torch.channels_last)(pixels.to(memory_format=torch.channels_last))
    for one, same, channels, stride in zip(other, expected, backbone.channels, backbone.strides, strict=True):
        assert one.shape == (2, channels, 64 // stride, 96 // stride)
        torch.testing.assert_close(one, same, rtol=1e-4, atol=1e-4 * float(same.abs().max()))
