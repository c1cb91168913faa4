"""Pooling as a gather equals torchvision's kernel: values, gradients, any box, any memory format."""

import math

import pytest
import torch
from torchvision.ops import roi_align

from cascade_rcnn.config import RoIAlign
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


def reference(features, boxes, config: RoIAlign) -> torch.Tensor:
    """torchvision's kernel, box by box on its own level."""
    rows = []
    for image, of_image in enumerate(boxes):
        for box in of_image:
            level = int(levels(box))
            x = features[level][image : image + 1]
            pooled = roi_align(x, [box[None]], config.resolution, 1 / STRIDES[level], config.sampling, config.aligned)
            rows.append(pooled[0].permute(1, 2, 0).flatten())
    return torch.stack(rows).view(*boxes.shape[:2], -1)


def test_levels_by_hand():
    """P4 at 224; a level more for each doubling; clamped to P2..P5."""
    sizes = [0, 10, 111, 112, 223, 224, 447, 448, 5000]
    boxes = torch.tensor([[0.0, 0, s, s] for s in sizes])
    assert levels(boxes).tolist() == [0, 0, 0, 1, 1, 2, 2, 3, 3]
    assert levels(torch.tensor([0.0, 0, 112, 448])).item() == 2  # by the area: 224^2


@pytest.mark.parametrize("config", [RoIAlign(sampling=n, aligned=a) for n in (1, 2, 3, 0) for a in (True, False)])
def test_equals_torchvision_per_level(config):
    features, boxes = pyramid(), ordinary()
    assert {0, 1, 2} <= set(levels(boxes).flatten().tolist())
    found = PyramidRoIAlign(config, STRIDES)(features, boxes)
    assert found.shape == (2, 40, 7 * 7 * CHANNELS)
    torch.testing.assert_close(found, reference(features, boxes, config), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("sampling", [2, 0])
@pytest.mark.parametrize("aligned", [True, False])
def test_unusual_boxes_equal_torchvision_too(sampling, aligned):
    boxes = torch.tensor(
        [
            [
                [-30.0, -20, 40, 50],  # partly outside
                [200, 230, 300, 320],
                [-100, -100, -50, -50],  # wholly
                [400, 400, 500, 500],
                [20, 20, 20, 20],  # of no size
                [0, 0, 0, 0],
                [50, 50, 50, 80],
                [-2000, -3000, 4000, 2500],  # giant
                [0, 0, 260, 256],  # the whole map: its last row and column
                [-4, -4, 4, 4],  # the border of one cell that still counts
                [30.3, 7.9, 31.1, 8.2],  # smaller than a cell
            ]
        ]
    )
    config = RoIAlign(sampling=sampling, aligned=aligned)
    features = pyramid(1)
    found = PyramidRoIAlign(config, STRIDES)(features, boxes)
    torch.testing.assert_close(found, reference(features, boxes, config), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("sampling", [2, 0])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e30])
def test_boxes_that_are_no_boxes_disturb_no_other(sampling, value):
    features, boxes = pyramid(1), ordinary(1, 4)
    pool = PyramidRoIAlign(RoIAlign(sampling=sampling), STRIDES)
    expected = pool(features, boxes)
    broken = boxes.clone()
    broken[0, 1, 2] = value
    broken[0, 2] = value
    found = pool(features, broken)
    assert bool(found.isfinite().all())
    torch.testing.assert_close(found[0, [0, 3]], expected[0, [0, 3]])


@pytest.mark.parametrize("sampling", [2, 0])
def test_gradients_equal_torchvision_s(sampling):
    config = RoIAlign(sampling=sampling)
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


def test_no_gradient_flows_into_the_boxes():
    boxes = ordinary().requires_grad_()
    features = [x.requires_grad_() for x in pyramid()]
    PyramidRoIAlign(RoIAlign(), STRIDES)(features, boxes).sum().backward()
    assert boxes.grad is None


@pytest.mark.parametrize("sampling", [2, 0])
def test_memory_format_never_changes_a_result(sampling):
    features, boxes = pyramid(), ordinary()
    pool = PyramidRoIAlign(RoIAlign(sampling=sampling), STRIDES)
    expected = pool(features, boxes)
    last = [x.to(memory_format=torch.channels_last) for x in features]
    assert last[0].stride() != features[0].stride()
    strided = [x.repeat_interleave(2, dim=-1)[..., ::2] for x in features]
    for other in (last, strided):
        torch.testing.assert_close(pool(other, boxes), expected, rtol=1e-6, atol=1e-6)


def test_a_sixth_level_is_not_read():
    features, boxes = pyramid(), ordinary()
    pool = PyramidRoIAlign(RoIAlign(), (*STRIDES, 64))
    extra = torch.full((2, CHANNELS, 4, 4), math.nan)
    assert torch.equal(pool([*features, extra], boxes), pool(features, boxes))


def test_a_map_of_one_cell():
    features = [torch.full((1, CHANNELS, 1, 1), float(k)) for k in range(4)]
    found = PyramidRoIAlign(RoIAlign(), STRIDES)(features, torch.tensor([[[0.0, 0, 1, 1], [-1e4, -1e4, 1e4, 1e4]]]))
    assert not found[0, 0].any()  # P2's cell holds 0
    torch.testing.assert_close(
        found[0, 1], torch.zeros_like(found[0, 1])
    )  # its points lie 1,429 pixels apart: none inside
