"""Encoding boxes as normalised deltas, and decoding."""

import math

import torch

from cascade_rcnn import boxes as box_ops
from cascade_rcnn.box_coder import BoxCoder


def test_deltas_by_hand():
    """The centre moves by (5, 0) of 10, the width doubles: (.5, 0, ln 2, 0), minus the mean, over the deviation."""
    coder = BoxCoder(mean=(0.1, 0.0, 0.0, 0.0), std=(0.1, 0.1, 0.2, 0.2))
    found = coder.encode(torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([[0.0, 0, 20, 10]]))
    torch.testing.assert_close(found, torch.tensor([[4.0, 0, math.log(2) / 0.2, 0]]))


def test_there_and_back():
    torch.manual_seed(0)
    corners = torch.rand(50, 2) * 80
    boxes, truth = (torch.cat([corners, corners + 1 + 30 * torch.rand(50, 2)], dim=1) for _ in range(2))
    coder = BoxCoder(mean=(0.1, -0.2, 0.05, 0.0), std=(0.05, 0.1, 0.2, 0.3))
    torch.testing.assert_close(coder.decode(boxes, coder.encode(boxes, truth)), truth, rtol=1e-4, atol=1e-3)


def test_without_statistics_it_is_equation_2():
    boxes, truth = torch.tensor([[1.0, 2, 11, 7]]), torch.tensor([[0.0, 0, 20, 10]])
    assert torch.equal(BoxCoder().encode(boxes, truth), box_ops.encode(boxes, truth))


def test_shrinking_is_clamped_where_asked():
    boxes, deltas = torch.tensor([[0.0, 0, 100, 100]]), torch.tensor([[0.0, 0, -9, -9]])
    clamped, free = (BoxCoder(clamp_shrink=clamp).decode(boxes, deltas)[0] for clamp in (True, False))
    assert clamped[2] - clamped[0] > 1 > free[2] - free[0]


def test_it_adds_nothing_to_a_checkpoint():
    assert BoxCoder().state_dict() == {}
