"""The feature pyramid against torchvision's."""

import pytest
import torch
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from cascade_rcnn.models.fpn import FeaturePyramid, SingleScale

INPUTS = (8, 16, 24, 32)


def maps(height: int, width: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    sizes = [(-(-height // s), -(-width // s)) for s in (4, 8, 16, 32)]
    return [torch.randn(2, c, *size, generator=generator) for c, size in zip(INPUTS, sizes, strict=True)]


@pytest.mark.parametrize("levels", [4, 5])
@pytest.mark.parametrize("size", [(64, 96), (72, 40)])
def test_equals_torchvision_s(levels, size):
    """72 x 40 is no multiple of 32: the coarse maps are stretched to uneven sizes."""
    ours = FeaturePyramid(INPUTS, 12, levels)
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


def test_p6_is_every_second_cell_of_p5():
    pyramid = FeaturePyramid(INPUTS, 12, 5)(maps(160, 96))
    assert torch.equal(pyramid[4], pyramid[3][:, :, ::2, ::2])


def test_coarse_maps_reach_the_fine_ones():
    features = [x.requires_grad_() for x in maps(64, 64)]
    FeaturePyramid(INPUTS, 12, 4)(features)[0].sum().backward()
    assert all(bool(x.grad.any()) for x in features)
    for x in features:
        x.grad = None
    FeaturePyramid(INPUTS, 12, 4)(features)[3].sum().backward()
    assert [x.grad is not None for x in features] == [False, False, False, True]  # but not the other way


def test_without_a_pyramid_the_maps_of_stride_16_are_kept():
    maps = [torch.zeros(1, c, 2, 2) for c in (1, 2, 3, 4)]
    single = SingleScale((4, 8, 16, 16), (1, 2, 3, 4))
    assert [x.shape[1] for x in single(maps)] == [3, 4] == list(single.channels)
    assert single.strides == (16,)
    assert not list(single.parameters())
