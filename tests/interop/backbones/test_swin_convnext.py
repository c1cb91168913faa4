"""Swin and ConvNeXt under every naming of their published detectors."""

import pytest
import torch
from torch import nn

from cascade_rcnn import create_model
from cascade_rcnn.interop import backbones
from cascade_rcnn.interop.backbones import convnext, swin
from cascade_rcnn.interop.convert import PEERS
from cascade_rcnn.interop.layout import LAYOUT_OUT
from cascade_rcnn.interop.renaming import relaid, rename
from cascade_rcnn.models.backbones.swin import _PatchMerging

SMALL = {"backbone_width": 8, "pyramid_channels": 8, "head_width": 8}
CASES = {  # family, peer, and one of its names
    "swin": (swin.FAMILY, "mmdet", "backbone.stages.2.blocks.5.ffn.layers.0.0.weight"),
    "swin, authors": (swin.AUTHORS, "mmdet", "backbone.layers.2.blocks.5.mlp.fc1.weight"),
    "swin, detectron2": (swin.FAMILY, "detectron2", "backbone.bottom_up.layers.1.downsample.reduction.weight"),
    "convnext": (convnext.FAMILY, "mmdet", "backbone.stages.2.8.gamma"),
    "convnext, authors": (convnext.AUTHORS, "mmdet", "backbone.stages.3.2.dwconv.weight"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_detector_comes_back_from_the_names_of_a_peer(case):
    family, origin, known = CASES[case]
    torch.manual_seed(0)
    model = create_model(f"cascade_rcnn_{'swin_t' if 'swin' in case else 'convnext_tiny'}_fpn", 3, **SMALL)
    peer, state = family.peers[origin], model.state_dict()
    laid = relaid(state, model.config, {**LAYOUT_OUT, **peer.layout_out})
    theirs = {rename(name, (*peer.names, *PEERS[origin].NAMES)): tensor for name, tensor in laid.items()}
    assert known in theirs
    if "swin" in case:
        theirs |= {known.rsplit(".", 2)[0] + ".attn.relative_position_index": torch.zeros(1)}
    assert backbones.find(origin, theirs) is family
    config, back = PEERS[origin].convert(theirs, None)
    assert config.name == model.config.name.replace("_swin_t", "_swin").replace("_convnext_tiny", "_convnext")
    assert (config.backbone.width, config.backbone.depths) == (8, model.config.backbone.depths)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], state[name]) for name in state)


@torch.no_grad()
def test_merged_patches_as_mmdetection_unfolds_them():
    torch.manual_seed(0)
    merging, x = _PatchMerging(3), torch.randn(1, 4, 6, 3)
    nn.init.normal_(merging.norm.weight)
    nn.init.normal_(merging.norm.bias)
    theirs = nn.functional.unfold(x.permute(0, 3, 1, 2), 2, stride=2).transpose(1, 2)
    config = create_model("faster_rcnn_resnet18_fpn", 1, **SMALL).config
    weight, bias, reduction = (
        swin._to_unfold(x, config) for x in (merging.norm.weight, merging.norm.bias, merging.reduction.weight)
    )
    expected = nn.functional.layer_norm(theirs, (12,), weight, bias) @ reduction.T
    torch.testing.assert_close(merging(x).flatten(1, 2), expected)
    assert torch.equal(swin._from_unfold(reduction, config), merging.reduction.weight)
