"""Repeat factors computed by hand, and how often the sampler yields each image."""

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade_rcnn.config import Category
from cascade_rcnn.data.batch_sampler import AspectBatchSampler
from cascade_rcnn.data.repeats import repeat_factors, repeated


def test_factors_are_square_roots_of_how_much_too_rare_a_class_is(make_annotations):
    """Of eight images, one shows class 2; another has it only as a region to ignore; one has no objects."""
    annotations = make_annotations([(30, 40)] * 8, [[(1, 2, 3, 4)] for _ in range(7)] + [[]])
    rare = replace(
        annotations,
        categories=(Category(id=1, name="common"), Category(id=2, name="rare")),
        labels=torch.tensor([1, 1, 1, 2, 1, 2, 1]),
        ignore=torch.tensor([False] * 5 + [True, False]),
    )
    factors = repeat_factors(rare, 0.5)
    assert factors is not None
    assert factors.tolist() == [1, 1, 1, math.sqrt(0.5 / (1 / 8)), 1, 1, 1, 1]
    assert repeat_factors(rare, 0.0) is None


@settings(max_examples=100)
@given(factors=st.lists(st.floats(1, 6), min_size=1, max_size=30), seed=st.integers(0, 2**32))
def test_every_image_is_there_about_as_often_as_its_factor(factors, seed):
    factors = np.array(factors)
    images = repeated(factors, np.random.default_rng(seed))
    assert len(images) == round(factors.sum())
    assert images.tolist() == sorted(images.tolist())
    exact = factors * len(images) / factors.sum()
    counts = np.bincount(images, minlength=len(factors))
    assert (counts >= np.floor(exact - 1e-9)).all()
    assert (counts <= np.ceil(exact + 1e-9)).all()


def test_factors_hold_on_average():
    rng, factors = np.random.default_rng(0), np.array([1.0, 2.25, 1.0, 1.75])
    counts = sum(np.bincount(repeated(factors, rng), minlength=4) for _ in range(400)) / 400
    assert counts.tolist() == pytest.approx(factors.tolist(), abs=0.08)


def test_epochs_have_one_length_on_all_ranks_and_repetitions_seeds_of_their_own():
    sizes = torch.tensor([(60, 40)] * 2 + [(30, 40)] * 4)
    repeats = np.array([3.0, 1.0, 1.0, 1.0, 5.0, 1.0])
    ranks = [
        AspectBatchSampler(sizes, batch_size=2, seed=0, shuffle=True, repeats=repeats, rank=rank, world_size=2)
        for rank in range(2)
    ]
    for epoch in range(3):
        for sampler in ranks:
            sampler.set_epoch(epoch)
        found = [list(sampler) for sampler in ranks]
        assert [len(one) for one in found] == [len(sampler) for sampler in ranks] == [3, 3]  # 2 + 4 batches
        samples = [sample for one in found for batch in one for sample in batch]
        assert Counter(i for i, *_ in samples) == {0: 3, 1: 1, 2: 1, 3: 1, 4: 5, 5: 1}
        assert len({seed for _, seed, _ in samples}) == 12
        assert all(len({i < 2 for i, *_ in batch}) == 1 for one in found for batch in one)


def test_samples_know_how_much_of_the_training_is_over():
    sampler = AspectBatchSampler(torch.tensor([(30, 40)] * 4), batch_size=2, seed=0, shuffle=True, epochs=8)
    sampler.set_epoch(6)
    assert [[progress for *_, progress in batch] for batch in sampler] == [[0.75] * 2, [0.8125] * 2]
    sampler.set_epoch(6, skip_batches=1)
    assert [[progress for *_, progress in batch] for batch in sampler] == [[0.8125] * 2]
