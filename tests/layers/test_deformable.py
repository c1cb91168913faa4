"""Deformable convolutions against torch's `grid_sample` and ordinary convolutions."""

import pytest
import torch
import torch.nn.functional as F

from cascade_rcnn import create_model
from cascade_rcnn.config import DeformableConfig, replace
from cascade_rcnn.layers.deformable import DeformableConv2d
from cascade_rcnn.models.build import build


def layer(*, modulated: bool, groups: int = 1, offset_groups: int = 1) -> DeformableConv2d:
    torch.manual_seed(0)
    made = DeformableConv2d(8, 8, 3, 2, 1, 1, groups, bias=False, modulated=modulated, offset_groups=offset_groups)
    torch.nn.init.normal_(made.offset.weight, std=0.2)
    return made


def sampled(x: torch.Tensor, conv: DeformableConv2d) -> torch.Tensor:
    """Return the same convolution by `grid_sample`, tap by tap: positions in pixels, zeros outside, one group."""
    found = conv.offset(x)
    offset, mask = found[:, :18].unflatten(1, (9, 2)), found[:, 18:].sigmoid() if conv.modulated else None
    rows, columns = torch.arange(found.shape[2])[:, None] * 2 - 1, torch.arange(found.shape[3]) * 2 - 1
    total = torch.zeros(1)
    for k in range(9):
        y, x_ = offset[:, k, 0] + rows + k // 3, offset[:, k, 1] + columns + k % 3
        grid = torch.stack([(2 * x_ + 1) / x.shape[3] - 1, (2 * y + 1) / x.shape[2] - 1], dim=-1)
        tap = F.grid_sample(x, grid, align_corners=False)
        tap = tap if mask is None else tap * mask[:, k : k + 1]
        total = total + F.conv2d(tap, conv.weight[:, :, k // 3, k % 3, None, None], groups=conv.groups)
    return total


@pytest.mark.parametrize("modulated", [False, True])
@pytest.mark.parametrize("groups", [1, 2])
def test_taps_are_sampled_where_the_offsets_say(modulated, groups):
    conv, x = layer(modulated=modulated, groups=groups), torch.randn(2, 8, 9, 12)
    torch.testing.assert_close(conv(x), sampled(x, conv), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("modulated", "share"), [(False, 1.0), (True, 0.5)])
def test_it_starts_as_an_ordinary_convolution(modulated, share):
    conv, x = DeformableConv2d(4, 6, 3, padding=1, modulated=modulated), torch.randn(1, 4, 7, 8)
    assert conv.bias is not None
    ordinary = F.conv2d(x, conv.weight * share, conv.bias, padding=1)
    torch.testing.assert_close(conv(x), ordinary, rtol=1e-4, atol=1e-5)


def test_groups_of_offsets_move_their_own_channels():
    conv, x = layer(modulated=False, groups=2, offset_groups=2), torch.randn(1, 8, 9, 12)
    assert conv.offset.out_channels == 36
    before = conv(x)
    with torch.no_grad():
        conv.offset.bias[18:] += 1.0
    after = conv(x)
    assert torch.equal(before[:, :4], after[:, :4])
    assert not torch.allclose(before[:, 4:], after[:, 4:])


def test_memory_format_changes_nothing():
    conv, x = layer(modulated=True, groups=2), torch.randn(2, 8, 9, 12)
    plain = conv(x)
    last = conv.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
    torch.testing.assert_close(plain, last, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_bfloat16_goes_in_and_out_and_positions_stay_exact():
    conv, x = layer(modulated=True), torch.randn(1, 8, 9, 12)
    exact = conv(x)
    low = conv.to(torch.bfloat16)(x.bfloat16())
    assert low.dtype == torch.bfloat16
    assert float((low.float() - exact).abs().max()) < 0.05 * float(exact.abs().max())


def test_every_weight_learns():
    conv = layer(modulated=True)
    conv(torch.randn(1, 8, 9, 12)).square().sum().backward()
    assert all(float(p.grad.abs().max()) > 0 for p in conv.parameters())


@pytest.mark.parametrize("deformable", [None, DeformableConfig()])
def test_a_network_of_them_keeps_its_maps_in_nchw(deformable):
    config = create_model("cascade_rcnn_resnet50_fpn", num_classes=2, pyramid_channels=16, head_width=16).config
    backbone = replace(config.backbone, stem=8, planes=8, deformable=deformable)
    model = build(replace(config, backbone=backbone))
    pixels = torch.randn(1, 3, 64, 96).contiguous(memory_format=torch.channels_last)
    for map_ in model.backbone(pixels):
        assert map_.is_contiguous() == (deformable is not None)
    assert all(map_.is_contiguous(memory_format=torch.channels_last) for map_ in model.features(pixels))
