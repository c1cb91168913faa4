"""Stochastic depth, and blocks that are recomputed in the backward pass."""

import pytest
import torch
from torch import nn

from cascade_rcnn.layers.blocks import DropPath, drop_rates, run


def test_rates_rise_in_equal_steps_over_all_stages():
    assert drop_rates(0.3, (1, 3)) == [[0.0], pytest.approx([0.1, 0.2, 0.3])]
    assert drop_rates(0.3, (1,)) == [[0.0]]


def test_some_images_lose_the_branch_and_the_mean_stays():
    torch.manual_seed(0)
    found = DropPath(0.25).train()(torch.ones(4000, 2, 3))
    assert found.unique().tolist() == [0.0, pytest.approx(4 / 3)]
    assert bool((found == found[:, :1, :1]).all())  # all or none of an image
    assert float(found.mean()) == pytest.approx(1, abs=0.03)
    assert float(found.mean(dim=(1, 2)).eq(0).float().mean()) == pytest.approx(0.25, abs=0.03)


def test_nothing_is_dropped_at_test_or_at_rate_0():
    x = torch.ones(100, 2)
    assert DropPath(0.9).eval()(x) is x
    assert DropPath(0.0).train()(x) is x


def test_computed_again_gives_the_same_gradients():
    torch.manual_seed(0)
    calls = []

    class Block(nn.Linear):
        def forward(self, x):
            calls.append(torch.is_grad_enabled())
            return super().forward(x).tanh()

    block, gradients = Block(4, 4), []
    for again in (False, True):
        x = torch.ones(2, 4, requires_grad=True)
        run(block, x, again=again).sum().backward()
        gradients.append((x.grad, block.weight.grad.clone()))
        block.zero_grad()
    assert len(calls) == 3  # once, then twice
    for one, other in zip(*gradients, strict=True):
        assert torch.equal(one, other)
    with torch.no_grad():
        run(block, torch.ones(2, 4), again=True)
    assert len(calls) == 4
