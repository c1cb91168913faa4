"""Normalisation layers against torch's own."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from cascade_rcnn.config import NormConfig
from cascade_rcnn.errors import UserError
from cascade_rcnn.layers.normalization import (
    BatchNorm2d,
    FixedBatchNorm,
    GroupNorm,
    LayerNorm2d,
    RoIBatchNorm2d,
    keep_local,
    make_norm,
)


@pytest.mark.parametrize(
    ("kind", "layer"),
    [
        ("frozen", FixedBatchNorm),
        ("affine", FixedBatchNorm),
        ("batch", BatchNorm2d),
        ("group", GroupNorm),
        ("layer", LayerNorm2d),
    ],
)
def test_kinds(kind, layer):
    norm = make_norm(NormConfig(kind=kind, groups=2, eps=0.25), 8)
    assert type(norm) is layer
    assert norm.eps == 0.25
    trained = {name for name, _ in norm.named_parameters()}
    assert trained == (set() if kind == "frozen" else {"weight", "bias"})
    of_rois = make_norm(NormConfig(kind=kind, groups=2), 8, of_rois=True)
    assert isinstance(of_rois, RoIBatchNorm2d) == (kind == "batch")


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_group_norm_is_exact_in_any_memory_format(memory):
    """Far from zero, a variance computed as a difference of squares would lose its digits."""
    torch.manual_seed(0)
    x = (torch.randn(2, 8, 9, 7) + 300).to(memory_format=memory)
    norm, reference = GroupNorm(4, 8), nn.GroupNorm(4, 8).double()
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    reference.load_state_dict(norm.state_dict())
    torch.testing.assert_close(norm(x).double(), reference(x.double()), rtol=1e-4, atol=1e-4)
    assert norm(x).is_contiguous(memory_format=torch.channels_last) or memory is torch.contiguous_format


def test_group_norm_has_torch_s_gradients():
    torch.manual_seed(0)
    ours, theirs = (torch.randn(1, 6, 5, 4, generator=torch.Generator().manual_seed(1)).requires_grad_() for _ in "ab")
    norm, reference = GroupNorm(3, 6), nn.GroupNorm(3, 6)
    norm(ours).square().sum().backward()
    reference(theirs).square().sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(norm.weight.grad, reference.weight.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_layer_norm_is_over_the_channels_of_each_place(memory):
    torch.manual_seed(0)
    x = torch.randn(2, 5, 3, 4).to(memory_format=memory)
    norm = make_norm(NormConfig.of("layer"), 5)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    mean, var = x.mean(1, keepdim=True), x.var(1, correction=0, keepdim=True)
    expected = (x - mean) / (var + 1e-6).sqrt() * norm.weight[:, None, None] + norm.bias[:, None, None]
    torch.testing.assert_close(norm(x), expected)


def test_half_precision_goes_in_and_out():
    x = torch.randn(1, 4, 3, 3, dtype=torch.bfloat16)
    assert GroupNorm(2, 4)(x).dtype == torch.bfloat16
    assert RoIBatchNorm2d(4).train()(x, torch.ones(1, dtype=torch.bool)).dtype == torch.bfloat16


def test_a_batch_of_empty_slots_is_finite_and_teaches_nothing():
    norm = RoIBatchNorm2d(4).train()
    norm.running_mean.fill_(2)
    found = norm(torch.randn(3, 4, 2, 2), torch.zeros(3, dtype=torch.bool))
    assert bool(found.isfinite().all())
    assert norm.running_mean.tolist() == [2] * 4
    assert norm.running_var.tolist() == [1] * 4


@pytest.mark.parametrize("kind", [BatchNorm2d, RoIBatchNorm2d])
def test_frozen_batch_norm_keeps_its_statistics_in_training(kind):
    norm = kind(3)
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    x = torch.randn(2, 3, 4, 4) * 3 + 5
    expected = norm.eval()(x)
    torch.testing.assert_close(norm.train().requires_grad_(False)(x), expected)
    torch.testing.assert_close(dict(norm.state_dict()), before)
    assert not torch.allclose(norm.requires_grad_(True)(x), expected, atol=0.1)


@pytest.mark.parametrize("kind", ["frozen", "affine", "batch"])
def test_statistics_can_be_exact(kind):
    """As with torchvision's weights on COCO, whose eps is 0; torch 2.11 refuses it."""
    norm = make_norm(NormConfig(kind=kind, eps=0.0), 1).eval()
    assert norm.running_var is not None
    norm.running_var.fill_(1e-6)
    torch.testing.assert_close(norm(torch.full((1, 1, 1, 1), 0.002)).item(), 2.0)


def test_a_local_copy_waits_for_no_other_process(monkeypatch):
    """As if there were two processes: the statistics are those of the maps here, without any exchange."""
    two = SimpleNamespace(is_available=lambda: True, is_initialized=lambda: True, get_world_size=lambda: 2)
    monkeypatch.setattr("cascade_rcnn.layers.normalization.dist", two)  # which cannot sum over processes
    model = nn.Sequential(BatchNorm2d(3), RoIBatchNorm2d(3)).train()
    maps = torch.randn(4, 3, 5, 6)
    with pytest.raises(AttributeError, match="all_reduce"):
        model(maps)
    expected = nn.Sequential(nn.BatchNorm2d(3), nn.BatchNorm2d(3)).train()(maps)
    torch.testing.assert_close(keep_local(model)(maps), expected)
    present = torch.tensor([True, True, True, False])
    found = keep_local(RoIBatchNorm2d(3)).train()(maps, present)
    torch.testing.assert_close(found[:3], nn.BatchNorm2d(3).train()(maps[:3]))


def test_groups_have_to_divide_the_channels():
    with pytest.raises(UserError, match="48 channels cannot be divided into the 32 groups"):
        make_norm(NormConfig(kind="group"), 48)
