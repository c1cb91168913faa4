"""Weights in 8 bits: their rounding errors, and which ones are left alone."""

import torch

from cascade_rcnn.models.compact import pack, unpack


def test_by_hand():
    state = {"weight": torch.tensor([[127.0, -63.5, 0.2], [0.5, 0.25, 0.0]]), "bias": torch.tensor([1.23, 4.56])}
    packed = pack(state)
    assert packed["weight"].dtype == torch.int8
    assert packed["weight"].tolist() == [[127, -64, 0], [127, 64, 0]]  # ties to even
    assert packed["bias"] is state["bias"]
    found = unpack(packed)
    assert found.keys() == state.keys()
    torch.testing.assert_close(found["weight"], torch.tensor([[127.0, -64, 0], [0.5, 64 * 0.5 / 127, 0]]))


def test_each_channel_is_within_half_a_step():
    weight = (
        torch.randn(6, 5, 3, 3, generator=torch.Generator().manual_seed(0))
        * 10.0 ** torch.arange(-3, 3)[:, None, None, None]
    )
    found = unpack(pack({"conv.weight": weight}))["conv.weight"]
    step = weight.flatten(1).abs().amax(dim=1) / 127
    assert bool(((found - weight).flatten(1).abs() <= step[:, None] * 0.5001).all())
    assert bool((found != weight).any())


def test_a_channel_of_zeros_and_a_counter_survive():
    state = {"weight": torch.zeros(2, 3), "num_batches_tracked": torch.tensor(7)}
    found = unpack(pack(state))
    assert not found["weight"].any()
    assert found["num_batches_tracked"] == 7


def test_what_was_never_packed_stays():
    state = {"weight": torch.randn(2, 3), "bias": torch.randn(2)}
    found = unpack(state)
    assert all(found[name] is state[name] for name in state)
