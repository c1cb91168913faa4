"""Flips, quarter turns and placement: boxes computed by hand, and pixels that move with them."""

import pytest
import torch
from torchvision.transforms import v2

from cascade_rcnn.data.augmentation.build import build_augmentation
from cascade_rcnn.data.augmentation.geometry import GREY, Place, Rotate90
from cascade_rcnn.data.targets import apply


def _augment(words: str, image, target):
    return build_augmentation(words).sample(image, target, draw=lambda: pytest.fail("nothing is mixed"))


def test_a_vertical_flip(sample, consistent):
    image, target = sample(30, 40, [[2, 4, 15, 10]])
    flipped, moved = _augment("vertical_flip:probability=1", image, target)
    assert moved["boxes"].tolist() == [[2, 20, 15, 26]]  # y: 30 - 10 and 30 - 4
    assert flipped.equal(image.flip(1))
    assert moved["masks"].equal(target["masks"].flip(1))
    consistent(flipped, moved)


@pytest.mark.parametrize(
    ("turns", "box", "shape"),
    [
        (1, [4, 25, 10, 38], (40, 30)),  # (x, y) -> (y, 40 - x)
        (2, [25, 20, 38, 26], (30, 40)),  # -> (40 - x, 30 - y)
        (3, [20, 2, 26, 15], (40, 30)),  # -> (30 - y, x)
    ],
)
def test_a_turn_by_each_of_the_quarter_turns(sample, consistent, monkeypatch, turns, box, shape):
    monkeypatch.setattr(torch, "randint", lambda *_: torch.tensor(turns))
    image, target = sample(30, 40, [[2, 4, 15, 10], [30, 20, 40, 30]])
    turned, moved = apply(Rotate90(1), image, target)
    assert moved["boxes"][0].tolist() == box
    assert turned.shape[1:] == shape
    x1, y1, x2, y2 = box
    assert (turned[:, y1:y2, x1:x2] == 10).all()
    assert (moved["masks"][0, y1:y2, x1:x2] == 1).all()
    assert moved["area"].tolist() == target["area"].tolist()
    consistent(turned, moved)


def test_four_quarter_turns_are_none_and_all_directions_are_drawn(sample, monkeypatch):
    image, target = sample(30, 40, [[2, 4, 15, 10]])
    torch.manual_seed(0)
    seen = {tuple(apply(Rotate90(0.75), image, target)[1]["boxes"][0].tolist()) for _ in range(60)}
    assert len(seen) == 4
    monkeypatch.setattr(torch, "randint", lambda *_: torch.tensor(1))
    turned, moved = image, target
    for _ in range(4):
        turned, moved = apply(Rotate90(1), turned, moved)
    assert turned.equal(image)
    assert moved["boxes"].equal(target["boxes"])
    assert apply(Rotate90(0), image, target)[0].equal(image)


def test_placing_scales_shifts_and_cuts(sample, consistent):
    """An image of 20 x 40 at double size, moved 10 down and 30 to the left, seen through a window."""
    image, target = sample(20, 40, [[10, 5, 30, 15], [36, 0, 40, 4], [0, 0, 10, 20]])
    placed, moved = apply(Place((40, 80), (10, -30), (60, 50), window=(0, 0, 60, 40)), image, target)
    # (20, 10, 60, 30) - (30, -10) = (-10, 20, 30, 40); (72, 0, 80, 8) -> (42, 10, 50, 18), beyond the window's edge
    assert moved["boxes"].tolist() == [[0, 20, 30, 40]]
    assert moved["labels"].tolist() == [1]
    assert moved["area"].tolist() == [pytest.approx(20 * 10 * (30 * 20) / (20 * 10))]
    assert placed[:, :10].flatten(1).unique(dim=1).T.tolist() == [list(GREY)]
    assert placed[:, :, 40:].flatten(1).unique(dim=1).T.tolist() == [list(GREY)]
    assert (placed[:, 22:38, 0:28] == 10).all()
    consistent(placed, moved)


def test_what_is_wholly_outside_leaves_a_grey_canvas(sample, consistent):
    image, target = sample(10, 10, [[2, 2, 6, 6]])
    placed, moved = apply(Place((10, 10), (0, 90), (20, 30)), image, target)
    assert placed.flatten(1).unique(dim=1).T.tolist() == [list(GREY)]
    assert len(moved["boxes"]) == 0
    consistent(placed, moved)


def test_a_crop_keeps_objects_whose_centre_it_has_and_all_of_a_crowd(sample, consistent, draws):
    image, target = sample(40, 80, [[20, 10, 40, 30], [50, 10, 60, 20], [0, 0, 10, 10], [50, 0, 80, 40]])
    target["iscrowd"][3] = 1
    # probability; width and height: .3 + .7 * (.5, .5) -> 52 x 26; left and top: (80 - 52) * .25, (40 - 26) * .5
    torch.manual_seed(1)
    draws(0.0, [0.5, 0.5], [0.25, 0.5])
    step = build_augmentation("iou_crop:probability=1").steps[0]
    assert isinstance(step, v2.Compose)
    crop = step.transforms[0]
    crop.options = [0.0]
    cropped, kept = apply(crop, image, target)
    assert cropped.shape == (3, 26, 52)
    # The second is clipped: its centre is at 55. The last is a crowd, whose centre is outside.
    assert kept["boxes"].tolist() == [[13, 3, 33, 23], [43, 3, 52, 13], [43, 0, 52, 26]]
    assert kept["labels"].tolist() == [1, 2, 4]
    assert kept["iscrowd"].tolist() == [0, 0, 1]
    assert kept["area"].tolist() == pytest.approx([400, 90, 234])
    assert cropped.equal(image[:, 7:33, 7:59])
    consistent(cropped, kept)


@pytest.mark.parametrize(("boxes", "height"), [([], 40), ([[2, 2, 8, 8]], 20)])
def test_images_without_objects_and_small_ones_are_not_cropped(sample, boxes, height):
    image, target = sample(height, 80, boxes)
    torch.manual_seed(0)
    for _ in range(10):
        cropped, kept = _augment("iou_crop:probability=1", image, target)
        assert cropped.equal(image)
        assert kept["boxes"].equal(target["boxes"])
