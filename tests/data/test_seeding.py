import random

import numpy as np
import torch

from cascade_rcnn.data.seeding import seeded


def draw() -> tuple[float, float, float]:
    return torch.rand(()).item(), np.random.rand(), random.random()  # noqa: NPY002


def test_what_is_drawn_inside_depends_on_the_seed_alone_and_outside_on_nothing_of_it():
    before = [torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()]  # noqa: NPY002
    with seeded(2**62 + 1):
        first = draw()
    after = [torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()]  # noqa: NPY002
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]
    draw()
    with seeded(2**62 + 1):
        assert draw() == first
    with seeded(5):
        assert all(new != old for new, old in zip(draw(), first, strict=True))


def test_without_a_seed_everything_goes_on():
    torch.manual_seed(0)
    expected = [draw()[0] for _ in range(2)]
    torch.manual_seed(0)
    with seeded(None):
        inside = draw()[0]
    assert [inside, draw()[0]] == expected
