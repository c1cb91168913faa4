"""Labels by IoU (equation 5), by hand and against a plain loop."""

import pytest
import torch
from torchvision.ops import box_iou

from cascade_rcnn import matching
from cascade_rcnn.matching import match
from cascade_rcnn.structures import Targets


def targets_of(boxes, labels=None, ignore=None) -> Targets:
    """Return one image's ground truth; `ignore` marks crowd regions."""
    box = torch.tensor(boxes, dtype=torch.float32).reshape(1, -1, 4)
    label = torch.tensor([labels or [1] * box.shape[1]])
    crowd = torch.tensor([ignore or [False] * box.shape[1]])
    return Targets(box, label, ~crowd, crowd if ignore else None)


def no_truth() -> Targets:
    return Targets(torch.zeros(1, 1, 4), torch.zeros(1, 1, dtype=torch.int64), torch.zeros(1, 1).bool(), None)


def all_valid(boxes: torch.Tensor) -> torch.Tensor:
    return torch.ones(boxes.shape[:2], dtype=torch.bool)


def candidates(*widths: float) -> torch.Tensor:
    """Return boxes from the origin, 10 high: with an object of 10 x 10, a width w <= 10 has an IoU of w / 10."""
    return torch.tensor([[[0.0, 0, w, 10] for w in widths]])


def test_equation_5_by_hand_with_inclusive_thresholds():
    truth = targets_of([[0, 0, 10, 10], [100, 100, 120, 120]], labels=[3, 7])
    boxes = torch.cat([candidates(5, 4.9, 10), torch.tensor([[[100.0, 100, 120, 112], [50, 50, 60, 60]]])], dim=1)
    found = match(boxes, all_valid(boxes), truth, positive_iou=0.5)
    torch.testing.assert_close(found.iou, torch.tensor([[0.5, 0.49, 1, 0.6, 0]]))
    assert found.labels.tolist() == [[3, 0, 3, 7, 0]]
    assert found.positive.tolist() == [[True, False, True, True, False]]
    assert found.negative.tolist() == [[False, True, False, False, True]]
    assert truth.boxes[0, found.matched[0, 3]].tolist() == [100, 100, 120, 120]


def test_between_the_two_thresholds_a_candidate_is_neither():
    boxes = candidates(2, 2.5, 6, 7.5)
    found = match(boxes, all_valid(boxes), targets_of([[0, 0, 10, 10]]), positive_iou=0.75, negative_iou=0.25)
    assert found.positive.tolist() == [[False, False, False, True]]
    assert found.negative.tolist() == [[True, False, False, False]]  # 0.25 is not below 0.25


def test_higher_u_makes_fewer_positives():
    boxes = candidates(*range(1, 11))
    number = [
        int(match(boxes, all_valid(boxes), targets_of([[0, 0, 10, 10]]), positive_iou=u).positive.sum())
        for u in (0.5, 0.75)
    ]
    assert number == [6, 3]  # widths 5..10 and 8..10


@pytest.mark.parametrize("number", [3, 64, 65, 200])
@pytest.mark.parametrize("pairs", [1, 64 * 50, matching._PAIRS])  # one object at a time, 64, all
def test_many_objects_equal_a_plain_loop(number, pairs, monkeypatch):
    monkeypatch.setattr(matching, "_PAIRS", pairs)
    generator = torch.Generator().manual_seed(number)
    corners = torch.rand(2, number + 50, 2, generator=generator) * 90
    every = torch.cat([corners, corners + 2 + 25 * torch.rand(2, number + 50, 2, generator=generator)], dim=-1)
    truth, boxes = every[:, :number], every[:, number:]
    labels = torch.randint(1, 9, (2, number), generator=generator)
    valid_truth = torch.rand(2, number, generator=generator) < 0.9
    found = match(boxes, all_valid(boxes), Targets(truth, labels, valid_truth, None), positive_iou=0.5)
    for b in range(2):
        overlap = box_iou(boxes[b], truth[b]).masked_fill(~valid_truth[b], -1.0)
        best, index = overlap.max(dim=1)
        torch.testing.assert_close(found.iou[b], best)
        assert torch.equal(found.matched[b], index)
        assert torch.equal(found.labels[b], torch.where(best >= 0.5, labels[b][index], 0))
        assert torch.equal(found.positive[b], best >= 0.5)
    found = match(
        boxes, all_valid(boxes), Targets(truth, labels, valid_truth, None), positive_iou=0.5, low_quality_iou=0.1
    )
    for b in range(2):
        overlap = box_iou(boxes[b], truth[b]).masked_fill(~valid_truth[b], -1.0)
        top = overlap.amax(dim=0)
        expected = ((overlap == top) & (top >= 0.1)).any(dim=1) | (overlap >= 0.5).any(dim=1)
        assert torch.equal(found.positive[b], expected)


def test_without_ground_truth_everything_is_background():
    boxes = candidates(5, 10)
    found = match(boxes, all_valid(boxes), no_truth(), positive_iou=0.7, negative_iou=0.3, low_quality_iou=0.0)
    assert found.iou.tolist() == [[-1, -1]]
    assert not found.positive.any()
    assert found.negative.all()
    assert found.labels.tolist() == [[0, 0]]


def test_invalid_candidates_are_neither_and_no_object_s_best():
    boxes = candidates(10, 6)
    valid = torch.tensor([[False, True]])
    found = match(boxes, valid, targets_of([[0, 0, 10, 10]]), positive_iou=0.7, negative_iou=0.3, low_quality_iou=0.0)
    assert found.positive.tolist() == [[False, True]]  # the best of those that count
    assert found.negative.tolist() == [[False, False]]


def test_crowd_regions_absorb_background_but_no_objects():
    truth = targets_of([[0, 0, 10, 10], [100, 0, 200, 100]], labels=[2, 5], ignore=[False, True])
    boxes = torch.tensor(
        [
            [
                [0.0, 0, 10, 9],  # the object
                [100, 0, 120, 20],  # inside the crowd
                [90, 0, 110, 10],  # half in it: counts as inside
                [89, 0, 110, 10],  # 10 / 21: background
                [100, 0, 200, 100],  # the crowd itself, which is not an object
            ]
        ]
    )
    found = match(boxes, all_valid(boxes), truth, positive_iou=0.5)
    assert found.labels.tolist() == [[2, 0, 0, 0, 0]]
    assert found.positive.tolist() == [[True, False, False, False, False]]
    assert found.negative.tolist() == [[False, False, False, True, False]]


def test_every_best_candidate_is_positive_ties_included():
    boxes = torch.tensor([[[0.0, 0, 10, 6], [0, 4, 10, 10], [0, 0, 10, 5], [60, 60, 70, 70]]])  # .6, .6, .5, 0
    found = match(
        boxes, all_valid(boxes), targets_of([[0, 0, 10, 10]]), positive_iou=0.7, negative_iou=0.3, low_quality_iou=0.0
    )
    assert found.positive.tolist() == [[True, True, False, False]]
    assert found.negative.tolist() == [[False, False, False, True]]


def test_a_low_quality_match_needs_its_iou_and_never_zero():
    boxes = candidates(2, 1)
    truth = targets_of([[0, 0, 10, 10], [500, 500, 510, 510]])  # nothing overlaps the second

    def positives(at_least):
        found = match(boxes, all_valid(boxes), truth, positive_iou=0.7, negative_iou=0.3, low_quality_iou=at_least)
        return found.positive.tolist()

    assert positives(0.0) == [[True, False]]
    assert positives(0.3) == [[False, False]]


@pytest.mark.parametrize(("reassigns", "label"), [(False, 1), (True, 2)])
def test_which_object_a_low_quality_match_learns(reassigns, label):
    """The candidate overlaps the first object more (0.8), but is also the second object's best."""
    boxes = torch.tensor([[[0.0, 0, 10, 10], [0, 0, 10, 8]]])
    truth = targets_of([[0, 0, 10, 8], [0, 0, 12.5, 10]], labels=[1, 2])
    # IoU with the objects: candidate 1 (0.8, 0.8), candidate 2 (1, 0.64): candidate 1 is the best of object 2
    found = match(
        boxes,
        all_valid(boxes),
        truth,
        positive_iou=0.9,
        negative_iou=0.3,
        low_quality_iou=0.0,
        low_quality_reassigns=reassigns,
    )
    assert found.labels.tolist() == [[label, 1]]
    assert found.matched[0, 0].item() == label - 1


def test_reassignment_goes_to_the_last_of_several_objects():
    """mmdetection overwrites object by object; the comparison splits 70 objects into two parts."""
    truth = targets_of([[0, 0, 10, 10]] * 70, labels=list(range(1, 71)))
    found = match(
        candidates(6),
        torch.ones(1, 1, dtype=torch.bool),
        truth,
        positive_iou=0.7,
        negative_iou=0.3,
        low_quality_iou=0.3,
        low_quality_reassigns=True,
    )
    assert found.labels.tolist() == [[70]]


def test_a_small_object_takes_no_candidate_from_a_large_one():
    """The candidate is the best for both; the small object, 4 x 4 inside it, is not learnt and matches nothing."""
    boxes = torch.tensor([[[0.0, 0, 10, 10], [50, 50, 54, 54]]])
    truth = targets_of([[0, 0, 10, 8], [6, 6, 10, 10], [50, 50, 54, 54]], labels=[1, 2, 3])
    settings = {"positive_iou": 0.7, "negative_iou": 0.3, "low_quality_iou": 0.0, "low_quality_reassigns": True}
    found = match(boxes, all_valid(boxes), truth, **settings, min_object_size=5.0)
    assert found.labels.tolist() == [[1, 0]]
    assert found.positive.tolist() == [[True, False]]
    assert found.negative.tolist() == [[False, False]]
    assert match(boxes, all_valid(boxes), truth, **settings).labels.tolist() == [[2, 3]]
