"""The feature pyramid against torchvision's."""

import pytest
import torch
from torch import nn
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from cascade_rcnn.config import FPNConfig, NormConfig
from cascade_rcnn.models.fpn import FeaturePyramid, SingleScale

INPUTS, STRIDES = (8, 16, 24, 32), (4, 8, 16, 32)


def pyramid_of(levels: int, **options) -> FeaturePyramid:
    return FeaturePyramid(INPUTS, STRIDES, FPNConfig(channels=12, **options), levels)


def maps(height: int, width: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    sizes = [(-(-height // s), -(-width // s)) for s in (4, 8, 16, 32)]
    return [torch.randn(2, c, *size, generator=generator) for c, size in zip(INPUTS, sizes, strict=True)]


@pytest.mark.parametrize("levels", [4, 5])
@pytest.mark.parametrize("size", [(64, 96), (72, 40)])
def test_equals_torchvision_s(levels, size):
    """72 x 40 is not a multiple of 32: the coarse maps are upsampled to odd sizes."""
    ours = pyramid_of(levels)
    theirs = FeaturePyramidNetwork(list(INPUTS), 12, extra_blocks=LastLevelMaxPool() if levels == 5 else None)
    for k in range(4):
        theirs.inner_blocks[k][0].load_state_dict(ours.lateral[k].state_dict())
        theirs.layer_blocks[k][0].load_state_dict(ours.output[k].state_dict())
    features = maps(*size)
    found = ours(features)
    expected = theirs({str(k): x for k, x in enumerate(features)})
    assert len(found) == levels
    for x, y in zip(found, expected.values(), strict=True):
        torch.testing.assert_close(x, y, rtol=1e-5, atol=1e-5)


def test_normalisation_is_where_torchvision_has_it():
    ours = pyramid_of(4, norm=NormConfig(kind="batch")).eval()
    theirs = FeaturePyramidNetwork(list(INPUTS), 12, norm_layer=nn.BatchNorm2d).eval()
    for kind, blocks in (("lateral", theirs.inner_blocks), ("output", theirs.layer_blocks)):
        for k in range(4):
            blocks[k][0].load_state_dict(ours.get_submodule(f"{kind}.{k}").state_dict())
            nn.init.normal_(ours.get_submodule(f"{kind}_norm.{k}").running_mean)
            blocks[k][1].load_state_dict(ours.get_submodule(f"{kind}_norm.{k}").state_dict())
    features = maps(64, 96)
    for x, y in zip(ours(features), theirs({str(k): x for k, x in enumerate(features)}).values(), strict=True):
        torch.testing.assert_close(x, y, rtol=1e-5, atol=1e-5)


def test_strides_follow_from_the_backbone_s():
    pyramid = FeaturePyramid((4, 8), (8, 16), FPNConfig(channels=6), 4)
    assert (pyramid.strides, pyramid.channels, pyramid.pooled) == ((8, 16, 32, 64), (6,) * 4, 2)
    found = pyramid([torch.zeros(1, 4, 16, 24), torch.zeros(1, 8, 8, 12)])
    assert [tuple(x.shape[2:]) for x in found] == [(16, 24), (8, 12), (4, 6), (2, 3)]


def test_p6_is_every_second_cell_of_p5():
    pyramid = pyramid_of(5)(maps(160, 96))
    assert torch.equal(pyramid[4], pyramid[3][:, :, ::2, ::2])


def test_coarse_maps_reach_the_fine_ones():
    features = [x.requires_grad_() for x in maps(64, 64)]
    pyramid_of(4)(features)[0].sum().backward()
    assert all(bool(x.grad.any()) for x in features)
    for x in features:
        x.grad = None
    pyramid_of(4)(features)[3].sum().backward()
    assert [x.grad is not None for x in features] == [False, False, False, True]  # but not the other way round


def test_without_a_pyramid_the_maps_of_stride_16_are_kept():
    maps = [torch.zeros(1, c, 2, 2) for c in (1, 2, 3, 4)]
    single = SingleScale((1, 2, 3, 4), (4, 8, 16, 16))
    assert [x.shape[1] for x in single(maps)] == [3, 4] == list(single.channels)
    assert single.strides == (16, 16)
    assert not list(single.parameters())
