"""RegNet against torchvision's."""

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torchvision.models._utils import IntermediateLayerGetter

from cascade_rcnn import UserError, create_model
from cascade_rcnn.config import NormConfig, RegNetConfig, replace
from cascade_rcnn.models.backbones.pretrained import load_pretrained
from cascade_rcnn.models.backbones.regnet import RegNet
from cascade_rcnn.models.folding import fold_norms


def config_of(name: str) -> RegNetConfig:
    with torch.device("meta"):
        return create_model(f"cascade_rcnn_{name}_fpn", 1).config.backbone


def test_features_equal_torchvision_s_before_and_after_folding(tmp_path):
    torch.manual_seed(0)
    theirs = torchvision.models.regnet_x_800mf().eval()
    save_file(theirs.state_dict(), tmp_path / "weights.safetensors")
    ours = RegNet(config_of("regnet_x_800mf")).eval()
    load_pretrained(ours, ours.config, tmp_path / "weights.safetensors")
    image = torch.randn(1, 3, 64, 96)
    stages = IntermediateLayerGetter(theirs.trunk_output, {f"block{k}": f"block{k}" for k in (1, 2, 3, 4)})
    with torch.no_grad():
        expected = stages(theirs.stem(image))
        found = ours(image)
        fold_norms(ours)
        folded = ours(image)
    assert [x.shape[1] for x in found] == list(ours.channels)
    for stride, one, other, reference in zip(ours.strides, found, folded, expected.values(), strict=True):
        assert one.shape[-2:] == (64 // stride, 96 // stride)
        torch.testing.assert_close(one, reference, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(other, reference, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["regnet_x_800mf", "regnet_x_3_2gf"])
def test_names_and_shapes_are_torchvision_s(name):
    theirs = getattr(torchvision.models, name)().state_dict()
    with torch.device("meta"):
        ours = RegNet(replace(config_of(name), norm=NormConfig(kind="batch"))).state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items() if not k.startswith("fc.")}


def test_every_parameter_is_in_one_layer():
    network = RegNet(RegNetConfig(widths=(8, 8, 16, 16), depths=(1, 1, 2, 1), group_width=4, stem=4))
    layers = network.layers()
    assert len(layers) == network.config.layers
    assert [id(p) for layer in layers for p in layer.parameters()] == [id(p) for p in network.parameters()]


def test_networks_that_do_not_exist_are_refused():
    with pytest.raises(UserError, match="20 is not a multiple of group_width=16"):
        RegNetConfig(widths=(16, 20, 32, 64), group_width=16)
    other = RegNetConfig(widths=(8, 8, 16, 16), depths=(1, 1, 2, 1), group_width=4, stem=4)
    with pytest.raises(UserError, match="torchvision has no ImageNet weights of regnet_x of"):
        load_pretrained(RegNet(other), other, "imagenet")
