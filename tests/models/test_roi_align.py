"""Pooling by gather equals torchvision's kernel: values, gradients, any box, any memory format."""

import math

import pytest
import torch
from torchvision.ops import ps_roi_align, roi_align

from cascade_rcnn.config import RoIAlignConfig
from cascade_rcnn.errors import UserError
from cascade_rcnn.models.roi_align import PyramidRoIAlign, levels

STRIDES = (4, 8, 16, 32)
CHANNELS, SIZE = 3, 256


def pyramid(images: int = 2) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(images, CHANNELS, SIZE // s, SIZE // s + 1, generator=generator) for s in STRIDES]


def ordinary(images: int = 2, number: int = 40) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    corners = torch.rand(images, number, 2, generator=generator) * 200
    return torch.cat([corners, corners + 1 + 250 * torch.rand(images, number, 2, generator=generator) ** 2], dim=-1)


def reference(features, boxes, config: RoIAlignConfig) -> torch.Tensor:
    """Run torchvision's kernel box by box, each on its own level."""
    rows = []
    for image, of_image in enumerate(boxes):
        for box in of_image:
            level = int(levels(box))
            x = features[level][image : image + 1]
            pooled = roi_align(x, [box[None]], config.resolution, 1 / STRIDES[level], config.sampling, config.aligned)
            rows.append(pooled[0])
    return torch.stack(rows)


def test_levels_by_hand():
    """P4 at 224; one level higher for each doubling; clamped to P2..P5."""
    sizes = [0, 10, 111, 112, 223, 224, 447, 448, 5000]
    boxes = torch.tensor([[0.0, 0, s, s] for s in sizes])
    assert levels(boxes).tolist() == [0, 0, 0, 1, 1, 2, 2, 3, 3]
    assert levels(torch.tensor([0.0, 0, 112, 448])).item() == 2  # by the area: 224^2


@pytest.mark.parametrize("config", [RoIAlignConfig(sampling=n, aligned=a) for n in (1, 2, 3, 0) for a in (True, False)])
def test_equals_torchvision_per_level(config):
    features, boxes = pyramid(), ordinary()
    assert {0, 1, 2} <= set(levels(boxes).flatten().tolist())
    found = PyramidRoIAlign(config, STRIDES)(features, boxes)
    assert found.shape == (80, CHANNELS, 7, 7)
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found, reference(features, boxes, config), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("sampling", [2, 0])
@pytest.mark.parametrize("aligned", [True, False])
def test_unusual_boxes_equal_torchvision_too(sampling, aligned):
    boxes = torch.tensor(
        [
            [
                [-30.0, -20, 40, 50],  # partly outside
                [200, 230, 300, 320],
                [-100, -100, -50, -50],  # completely outside
                [400, 400, 500, 500],
                [20, 20, 20, 20],  # empty
                [0, 0, 0, 0],
                [50, 50, 50, 80],
                [-2000, -3000, 4000, 2500],  # giant
                [0, 0, 260, 256],  # the whole map, including its last row and column
                [-4, -4, 4, 4],  # at the border of one cell, which still counts
                [30.3, 7.9, 31.1, 8.2],  # smaller than a cell
            ]
        ]
    )
    config = RoIAlignConfig(sampling=sampling, aligned=aligned)
    features = pyramid(1)
    found = PyramidRoIAlign(config, STRIDES)(features, boxes)
    torch.testing.assert_close(found, reference(features, boxes, config), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("sampling", [2, 0])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e30])
def test_boxes_that_are_not_boxes_disturb_no_other(sampling, value):
    features, boxes = pyramid(1), ordinary(1, 4)
    pool = PyramidRoIAlign(RoIAlignConfig(sampling=sampling), STRIDES)
    expected = pool(features, boxes)
    broken = boxes.clone()
    broken[0, 1, 2] = value
    broken[0, 2] = value
    found = pool(features, broken)
    assert bool(found.isfinite().all())
    torch.testing.assert_close(found[[0, 3]], expected[[0, 3]])


@pytest.mark.parametrize("sampling", [2, 0])
def test_gradients_equal_torchvision_s(sampling):
    config = RoIAlignConfig(sampling=sampling)
    ours, theirs = ([x.requires_grad_() for x in pyramid()] for _ in range(2))
    boxes = ordinary()
    boxes[0, 0] = torch.tensor([-30.0, -20, 40, 50])
    found, expected = PyramidRoIAlign(config, STRIDES)(ours, boxes), reference(theirs, boxes, config)
    weight = torch.randn(found.shape, generator=torch.Generator().manual_seed(2))
    (found * weight).sum().backward()
    (expected * weight).sum().backward()
    for a, b in zip(ours, theirs, strict=True):
        grad = torch.zeros_like(b) if b.grad is None else b.grad
        torch.testing.assert_close(torch.zeros_like(a) if a.grad is None else a.grad, grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("aligned", [True, False])
def test_the_adaptive_gather_equals_the_kernel_which_gpus_and_compilers_take(aligned, monkeypatch):
    features, boxes = pyramid(), ordinary()
    boxes[1, 0] = torch.tensor([-2000.0, -3000, 4000, 2500])  # more points than the gather handles
    pool = PyramidRoIAlign(RoIAlignConfig(sampling=0, aligned=aligned), STRIDES)
    assert pool.table(features).rows is not None
    gathered = pool(features, boxes)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert pool.table(features).rows is None
    torch.testing.assert_close(gathered, pool(features, boxes), rtol=1e-4, atol=1e-4)


def test_no_gradient_flows_into_the_boxes():
    boxes = ordinary().requires_grad_()
    features = [x.requires_grad_() for x in pyramid()]
    PyramidRoIAlign(RoIAlignConfig(), STRIDES)(features, boxes).sum().backward()
    assert boxes.grad is None


@pytest.mark.parametrize("sampling", [2, 0])
def test_memory_format_never_changes_a_result(sampling):
    features, boxes = pyramid(), ordinary()
    pool = PyramidRoIAlign(RoIAlignConfig(sampling=sampling), STRIDES)
    expected = pool(features, boxes)
    last = [x.to(memory_format=torch.channels_last) for x in features]
    assert last[0].stride() != features[0].stride()
    strided = [x.repeat_interleave(2, dim=-1)[..., ::2] for x in features]
    for other in (last, strided):
        torch.testing.assert_close(pool(other, boxes), expected, rtol=1e-6, atol=1e-6)


def test_a_sixth_level_is_not_read():
    features, boxes = pyramid(), ordinary()
    pool = PyramidRoIAlign(RoIAlignConfig(), STRIDES)
    extra = torch.full((2, CHANNELS, 4, 4), math.nan)
    assert torch.equal(pool([*features, extra], boxes), pool(features, boxes))


def test_a_map_of_one_cell():
    features = [torch.full((1, CHANNELS, 1, 1), float(k)) for k in range(4)]
    boxes = torch.tensor([[[0.0, 0, 1, 1], [-1e4, -1e4, 1e4, 1e4]]])
    found = PyramidRoIAlign(RoIAlignConfig(), STRIDES)(features, boxes)
    assert not found[0].any()  # P2's cell holds 0
    torch.testing.assert_close(found[1], torch.zeros_like(found[1]))  # its points lie 1,429 pixels apart: none inside


# -- a single level, and position-sensitive maps -------------------------------------------------------------------


@pytest.mark.parametrize("sampling", [2, 0])
def test_with_one_level_every_box_is_read_from_it(sampling):
    x, boxes = pyramid()[2], ordinary()
    assert len(levels(boxes).unique()) > 2
    found = PyramidRoIAlign(RoIAlignConfig(sampling=sampling), (16,))([x, torch.full_like(x, math.nan)], boxes)
    image = torch.arange(2.0).repeat_interleave(40)[:, None]
    expected = roi_align(x, torch.cat([image, boxes.flatten(0, 1)], dim=1), 7, 1 / 16, sampling, True)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert not levels(boxes, (16,)).any()


def sensitive(bins: int, channels: int, size: int = 20) -> torch.Tensor:
    return torch.randn(2, bins * bins * channels, size, size + 1, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("sampling", [1, 2, 3])
@pytest.mark.parametrize("bins", [3, 7])
def test_position_sensitive_pooling_equals_torchvision(bins, sampling):
    """Its kernel is aligned to half pixels and orders channels the other way round: (C, S, S)."""
    x = sensitive(bins, 5)
    boxes = torch.cat([ordinary(), torch.tensor([[[-30.0, -20, 40, 50], [20, 20, 20, 20]]]).expand(2, -1, -1)], dim=1)
    pool = PyramidRoIAlign(RoIAlignConfig(resolution=bins, sampling=sampling), (16,), position_sensitive=True)
    theirs = x.unflatten(1, (bins * bins, 5)).transpose(1, 2).flatten(1, 2)
    expected = ps_roi_align(theirs, list(boxes), bins, 1 / 16, sampling)
    found = pool([x], boxes)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_position_sensitive_gradients_equal_torchvision_s():
    x = sensitive(3, 4).requires_grad_()
    theirs = x.detach().unflatten(1, (9, 4)).transpose(1, 2).flatten(1, 2).requires_grad_()
    found = PyramidRoIAlign(RoIAlignConfig(resolution=3), (16,), position_sensitive=True)([x], ordinary())
    weight = torch.randn(80, 4, 3, 3, generator=torch.Generator().manual_seed(2))
    (found * weight).sum().backward()
    (ps_roi_align(theirs, list(ordinary()), 3, 1 / 16, 2) * weight).sum().backward()
    assert x.grad is not None
    assert theirs.grad is not None
    torch.testing.assert_close(
        x.grad, theirs.grad.unflatten(1, (4, 9)).transpose(1, 2).flatten(1, 2), rtol=1e-4, atol=1e-4
    )


def test_position_sensitive_bins_read_their_own_channels_by_hand():
    """2 x 2 bins, 1 channel; the maps are the constants 1, 2, 3, 4, so each bin yields its own."""
    x = torch.arange(1.0, 5)[None, :, None, None].expand(1, 4, 8, 8)
    pool = PyramidRoIAlign(RoIAlignConfig(resolution=2), (16,), position_sensitive=True)
    assert pool([x], torch.tensor([[[16.0, 16, 80, 80]]])).tolist() == [[[[1, 2], [3, 4]]]]
    # a map of column numbers: bins of a box over columns 1..4 are centred at 1.5 and 3.5, minus half a pixel
    ramp = torch.arange(8.0).expand(1, 4, 8, 8)
    torch.testing.assert_close(pool([ramp], torch.tensor([[[16.0, 16, 80, 80]]])), torch.tensor([[[[1.5, 3.5]] * 2]]))


def test_position_sensitive_pooling_is_in_any_memory_format_the_same():
    x, boxes = sensitive(7, 5), ordinary()
    pool = PyramidRoIAlign(RoIAlignConfig(), (16,), position_sensitive=True)
    torch.testing.assert_close(pool([x.to(memory_format=torch.channels_last)], boxes), pool([x], boxes))


def test_position_sensitive_pooling_has_no_adaptive_grid():
    with pytest.raises(UserError, match="set sampling to 1 or more"):
        PyramidRoIAlign(RoIAlignConfig(sampling=0), (16,), position_sensitive=True)
