"""The simple feature pyramid."""

import pytest
import torch
from torch import nn

from cascade_rcnn.config import NormConfig, SimplePyramidConfig
from cascade_rcnn.models.simple_pyramid import SimplePyramid


@pytest.mark.parametrize("levels", [4, 5])
def test_strides_and_shapes(levels):
    pyramid = SimplePyramid(8, 16, SimplePyramidConfig(channels=6), levels)
    maps = pyramid([torch.randn(2, 8, 6, 4)])
    assert pyramid.strides == (4, 8, 16, 32, 64)[:levels]
    assert pyramid.channels == (6,) * levels
    assert [tuple(x.shape) for x in maps] == [(2, 6, -(-96 // s), -(-64 // s)) for s in pyramid.strides]


def test_each_level_depends_on_the_single_map():
    """Level by level from the layers themselves, without a norm."""
    torch.manual_seed(0)
    pyramid = SimplePyramid(8, 16, SimplePyramidConfig(channels=6, norm=None), 5)
    x = torch.randn(1, 8, 4, 4)
    up, gelu = pyramid.scale[0], nn.GELU()
    scaled = [up[3](gelu(up[0](x))), pyramid.scale[1][0](x), x, nn.functional.max_pool2d(x, 2)]
    expected = [o(side(s)) for s, side, o in zip(scaled, pyramid.lateral, pyramid.output, strict=True)]
    found = pyramid([x])
    for a, b in zip(found, expected, strict=False):
        torch.testing.assert_close(a, b)
    torch.testing.assert_close(found[4], found[3][..., ::2, ::2])


def test_norms_stand_after_each_convolution_and_within_the_first_level():
    pyramid = SimplePyramid(8, 16, SimplePyramidConfig(channels=6, norm=NormConfig.of("layer")), 4)
    assert sum(isinstance(m, nn.LayerNorm) for m in pyramid.modules()) == 2 * 4 + 1
    assert all(conv.bias is None for conv in (*pyramid.lateral, *pyramid.output))
