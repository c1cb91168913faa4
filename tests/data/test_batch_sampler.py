from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade_rcnn.data.batch_sampler import AspectBatchSampler
from cascade_rcnn.errors import UserError


def _sizes(landscape: int, portrait: int) -> torch.Tensor:
    """Return sizes with the portrait images first, so that grouping cannot be an accident of their order."""
    return torch.tensor([(60, 40)] * portrait + [(30, 40)] * landscape)


def _sampler(sizes: torch.Tensor, **options) -> AspectBatchSampler:
    return AspectBatchSampler(sizes, **({"batch_size": 4, "seed": 0, "shuffle": True} | options))


def _indices(sampler: AspectBatchSampler) -> list[list[int]]:
    return [[index for index, *_ in batch] for batch in sampler]


@settings(max_examples=60)
@given(
    landscape=st.integers(0, 30),
    portrait=st.integers(0, 30),
    batch_size=st.integers(1, 7),
    world_size=st.integers(1, 4),
    epoch=st.integers(0, 3),
)
def test_training_batches(landscape, portrait, batch_size, world_size, epoch):
    if not landscape + portrait:
        return
    ranks = [
        _sampler(_sizes(landscape, portrait), batch_size=batch_size, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    for sampler in ranks:
        sampler.set_epoch(epoch)
    batches = [_indices(sampler) for sampler in ranks]
    total = -(-landscape // batch_size) - (-portrait // batch_size)
    assert {len(found) for found in batches} == {len(sampler) for sampler in ranks} == {-(-total // world_size)}
    # In dealing order, the first `total` batches contain every image once; the rest repeat some of these batches.
    dealt = [batch for step in zip(*batches, strict=True) for batch in step]
    assert sorted(index for batch in dealt[:total] for index in batch) == list(range(landscape + portrait))
    assert all(batch in dealt[:total] for batch in dealt[total:])
    for batch in dealt:
        assert 1 <= len(batch) <= batch_size
        assert len({index < portrait for index in batch}) == 1


def test_the_order_depends_on_seed_and_epoch_alone():
    sizes = _sizes(40, 20)
    sampler = _sampler(sizes)
    first = list(sampler)
    assert list(sampler) == first == list(_sampler(sizes))
    sampler.set_epoch(1)
    second = list(sampler)
    assert second != first
    assert Counter(map(len, second)) == Counter(map(len, first))
    assert list(_sampler(sizes, seed=1)) != first
    sampler.set_epoch(0)
    assert list(sampler) == first


def test_seeds_differ_by_image_and_epoch_and_do_not_depend_on_the_world():
    sizes = _sizes(40, 20)
    sampler = _sampler(sizes)
    epochs = []
    for epoch in (0, 1):
        sampler.set_epoch(epoch)
        epochs.append({i: seed for batch in sampler for i, seed, _ in batch})
    assert len({*epochs[0].values(), *epochs[1].values()}) == 120
    halves = [_sampler(sizes, rank=rank, world_size=2) for rank in range(2)]
    assert {i: seed for half in halves for batch in half for i, seed, _ in batch} == epochs[0]


def test_skipping_leaves_the_rest_as_it_was():
    sampler = _sampler(_sizes(40, 21), rank=1, world_size=2)
    sampler.set_epoch(3)
    whole = list(sampler)
    for skip in (0, 1, 5, len(whole)):
        sampler.set_epoch(3, skip_batches=skip)
        assert list(sampler) == whole[skip:]
        assert len(sampler) == len(whole)
    sampler.set_epoch(3)
    assert list(sampler) == whole


def test_drop_last_keeps_batches_full():
    batches = _indices(_sampler(_sizes(10, 7), drop_last=True))
    assert [len(batch) for batch in batches] == [4, 4, 4]
    assert sorted(len({index < 7 for index in batch}) for batch in batches) == [1, 1, 1]


def test_drop_last_never_leaves_a_small_group_out_for_good():
    sampler = _sampler(_sizes(10, 3), drop_last=True)
    seen = set()
    for epoch in range(10):
        sampler.set_epoch(epoch)
        batches = _indices(sampler)
        assert [len(batch) for batch in batches] == [4, 4, 4]
        assert len(sampler) == 3
        seen.update(index for batch in batches for index in batch)
    assert seen == set(range(13))


def test_too_few_images_for_a_full_batch(one_line):
    with pytest.raises(UserError) as caught:
        _sampler(_sizes(2, 1), drop_last=True)
    one_line(caught, "3 images cannot fill a batch of 4")


def test_evaluation_is_in_order_without_repetition():
    assert _indices(_sampler(_sizes(5, 5), shuffle=False)) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    ranks = [_sampler(_sizes(5, 5), shuffle=False, rank=rank, world_size=4) for rank in range(4)]
    assert [_indices(sampler) for sampler in ranks] == [[[0, 1, 2, 3]], [[4, 5, 6, 7]], [[8, 9]], []]
    assert [len(sampler) for sampler in ranks] == [1, 1, 1, 0]
