"""Dense NMS against torchvision's, image by image and group by group."""

import math

import pytest
import torch
from torchvision.ops import batched_nms

from cascade_rcnn import nms
from cascade_rcnn.nms import OPERATOR, keep_mask, single_call, survivors


def random_case(seed: int, images: int, number: int, groups: int, size: float = 200.0):
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(images, number, 2, generator=generator) * size
    extent = torch.rand(images, number, 2, generator=generator) * size / 3 + 1
    boxes = torch.cat([corners, corners + extent], dim=-1)
    scores = torch.rand(images, number, generator=generator)
    group = torch.randint(groups, (images, number), generator=generator)
    valid = torch.rand(images, number, generator=generator) < 0.7
    return boxes, scores, group, valid


def reference(boxes, scores, group, valid, iou):
    """Run torchvision's NMS on the valid slots of each image separately."""
    kept = torch.zeros_like(valid)
    for b in range(len(boxes)):
        rows = valid[b].nonzero().squeeze(1)
        found = batched_nms(boxes[b, rows].double(), scores[b, rows].double(), group[b, rows], iou)
        kept[b, rows[found]] = True
    return kept


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("groups", [1, 5])
@pytest.mark.parametrize("iou", [0.3, 0.7])
def test_equals_torchvision_per_image_and_group(seed, groups, iou):
    case = random_case(seed, images=3, number=60, groups=groups)
    assert torch.equal(keep_mask(*case, iou), reference(*case, iou))


def test_by_hand():
    boxes = torch.tensor([[[0.0, 0, 10, 10], [1, 0, 11, 10], [20, 20, 30, 30], [0, 0, 10, 10]]])  # first two: 9 / 11
    scores = torch.tensor([[0.8, 0.9, 0.5, 0.95]])
    groups = torch.tensor([[0, 0, 0, 1]])
    valid = torch.ones(1, 4, dtype=torch.bool)
    assert keep_mask(boxes, scores, groups, valid, 0.5).tolist() == [[False, True, True, True]]
    assert keep_mask(boxes, scores, groups, valid, 0.82).tolist() == [[True, True, True, True]]  # not above .82


def test_invalid_slots_are_never_kept_and_never_suppress():
    boxes = torch.tensor([[[0.0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 1, 1]]])
    scores = torch.tensor([[0.9, 0.1, 0.2]])
    valid = torch.tensor([[False, True, True]])
    assert keep_mask(boxes, scores, torch.zeros(1, 3, dtype=torch.int64), valid, 0.5).tolist() == [[False, True, True]]


@pytest.mark.parametrize("rubbish", [math.nan, math.inf, 1e30])
def test_rubbish_in_invalid_slots_changes_nothing(rubbish):
    boxes, scores, group, valid = random_case(0, images=2, number=40, groups=3)
    expected = keep_mask(boxes, scores, group, valid, 0.5)
    boxes = torch.where(valid[..., None], boxes, rubbish)
    scores = torch.where(valid, scores, math.nan)
    assert torch.equal(keep_mask(boxes, scores, group, valid, 0.5), expected)


def test_many_groups_and_large_coordinates_lose_no_precision():
    """At offsets near 1e7, float32 has steps of 1 pixel: boxes half a pixel apart would coincide."""
    boxes, scores, _, valid = random_case(1, images=1, number=120, groups=1, size=4.0)
    boxes = boxes + 10_000
    group = torch.full_like(scores, 1200, dtype=torch.int64)
    assert torch.equal(keep_mask(boxes, scores, group, valid, 0.5), reference(boxes, scores, group, valid, 0.5))


def test_negative_coordinates_keep_groups_apart():
    boxes = torch.tensor([[[-10.0, -10, 10, 10], [-10, -10, 10, 10]]])
    valid = torch.ones(1, 2, dtype=torch.bool)
    assert keep_mask(boxes, torch.tensor([[0.5, 0.6]]), torch.tensor([[0, 1]]), valid, 0.5).all()


def test_nothing_to_do():
    empty = torch.zeros(2, 0, dtype=torch.int64)
    found = keep_mask(torch.zeros(2, 0, 4), torch.zeros(2, 0), empty, empty.bool(), 0.5)
    assert found.shape == (2, 0)
    boxes, scores, group, valid = random_case(0, images=2, number=5, groups=2)
    assert not keep_mask(boxes, scores, group, torch.zeros_like(valid), 0.5).any()


@pytest.mark.parametrize("groups", [1, 5])
def test_one_call_for_the_batch_keeps_the_same(groups):
    case = random_case(7, images=3, number=60, groups=groups)
    assert torch.equal(single_call(*case, 0.5), keep_mask(*case, 0.5))


def test_one_call_keeps_nothing_where_nothing_is_valid():
    boxes, scores, groups, valid = random_case(7, images=2, number=20, groups=3)
    assert not single_call(boxes, scores, groups, torch.zeros_like(valid), 0.5).any()


def test_the_operator_is_registered_soundly():
    torch.library.opcheck(OPERATOR, (*random_case(0, images=2, number=10, groups=2), 0.5))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("at_once", [1, 2**24])
def test_all_pairs_at_once_give_the_same(monkeypatch, seed, at_once):
    """What a GPU computes, in parts and as a whole; scores with ties, which keep their order."""
    monkeypatch.setattr(nms, "_PAIRS_AT_ONCE", at_once)
    boxes, scores, groups, valid = random_case(seed, images=3, number=80, groups=2)
    scores = (scores * 20).round() / 20
    valid[1] = seed % 2 == 0
    valid &= seed < 3  # at last, nothing is valid
    number = int(valid.sum(dim=1).max())
    found = nms._dense(boxes, scores, groups, valid, 0.4, number)
    assert torch.equal(found, keep_mask(boxes, scores, groups, valid, 0.4))


def test_a_chain_in_which_each_box_overlaps_the_next():
    """Every second one survives, after as many rounds as there are boxes."""
    left = torch.arange(50.0)
    boxes = torch.stack([left, torch.zeros(50), left + 2.5, torch.ones(50)], dim=1)[None]  # IoU 1.5 / 3.5 and .5 / 4.5
    kept = survivors(boxes, torch.zeros(1, 50, dtype=torch.int64), torch.ones(1, 50, dtype=torch.bool), 0.4)
    assert kept[0].tolist() == [k % 2 == 0 for k in range(50)]
