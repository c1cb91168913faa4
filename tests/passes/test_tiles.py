"""Tiles: objects that cross their borders are found whole and once, as in the undivided image."""

import itertools
import math
import random

import pytest
import torch

from cascade_rcnn.config import InferenceConfig
from cascade_rcnn.errors import UserError
from cascade_rcnn.passes.join_tiles import join_tiles
from cascade_rcnn.passes.tiles import Tiled, windows

Box = tuple[int, int, int, int]

CROSSING: list[Box] = [
    (50, 40, 90, 80),  # where four tiles meet
    (5, 5, 20, 20),  # inside a tile
    (100, 10, 230, 34),  # longer than a tile
    (110, 60, 124, 170),  # taller than the overlap
    (128, 60, 140, 75),  # next to it, of another class
    (0, 180, 300, 200),  # the whole width
    (250, 100, 300, 160),  # at the right edge
]


def scattered(seed: int, height: int, width: int) -> list[Box]:
    """Return disjoint objects of 3 to 60 pixels."""
    draw, boxes = random.Random(seed), []
    for _ in range(60):
        w, h = draw.randint(3, 60), draw.randint(3, 60)
        x, y = draw.randint(0, width - w), draw.randint(0, height - h)
        apart = all(x > b[2] or x + w < b[0] or y > b[3] or y + h < b[1] for b in boxes)
        if apart:
            boxes.append((x, y, x + w, y + h))
    return boxes


def same(found: dict, wanted: dict) -> None:
    def ordered(one: dict) -> dict:
        order = sorted(range(len(one["boxes"])), key=lambda k: one["boxes"][k].tolist())
        return {name: values[order] for name, values in (one | {"masks": one["masks"].dense()}).items()}

    found, wanted = ordered(found), ordered(wanted)
    for name in ("boxes", "labels", "masks", "scores"):
        assert torch.equal(found[name], wanted[name]), name


@pytest.mark.parametrize("overlap", [0.2, 0.5])
def test_objects_across_borders_come_out_whole_with_their_masks(paint, seeing, overlap):
    image, detect = paint(200, 300, CROSSING), seeing(CROSSING, sure=True)
    (whole,) = detect([image])
    (found,) = Tiled(detect, 96, overlap, InferenceConfig())([image])
    same(found, whole)
    assert (found["scores"].diff() <= 0).all()


@pytest.mark.parametrize("seed", range(2))
def test_objects_smaller_than_the_overlap_are_exactly_those_of_the_whole_image(paint, seeing, seed):
    boxes = scattered(seed, 240, 300)
    image, detect = paint(240, 300, boxes), seeing(boxes)
    (whole,) = detect([image])
    (found,) = Tiled(detect, 128, 0.5, InferenceConfig())([image])
    same(found, whole)


def test_a_piece_that_nothing_matches_is_dropped_and_a_small_object_in_a_large_one_is_not():
    box = torch.tensor
    label = {"labels": box([1])}
    left = {"boxes": box([[10.0, 10.0, 98.0, 90.0]]), "scores": box([0.9]), **label}  # complete, with 18 px of overlap
    piece = {"boxes": box([[0.0, 40.0, 4.0, 60.0]]), "scores": box([0.8]), **label}  # at 80..84, half of what is there
    tiles = box([[0, 0, 100, 100], [80, 0, 180, 100]])
    found = join_tiles([left, piece], tiles, (100, 180), InferenceConfig())
    assert found["boxes"].tolist() == [[10, 10, 98, 90]]
    inner = {"boxes": box([[6.0, 40.0, 10.0, 60.0]]), "scores": box([0.8]), **label}  # nothing cuts it
    found = join_tiles([left, inner], tiles, (100, 180), InferenceConfig())
    assert found["boxes"].tolist() == [[10, 10, 98, 90], [86, 40, 90, 60]]
    other = {**piece, "labels": box([2])}  # of another class
    assert len(join_tiles([left, other], tiles, (100, 180), InferenceConfig())["boxes"]) == 2
    assert join_tiles([left, other], tiles, (100, 180), InferenceConfig(agnostic_nms=True))["labels"].tolist() == [1]


def test_halves_of_two_classes_are_one_object_if_nms_is_agnostic():
    box, tiles = torch.tensor, torch.tensor([[0, 0, 100, 100], [80, 0, 180, 100]])
    left = {"boxes": box([[40.0, 10.0, 100.0, 50.0]]), "scores": box([0.6]), "labels": box([1])}
    right = {"boxes": box([[0.0, 10.0, 50.0, 50.0]]), "scores": box([0.9]), "labels": box([2])}
    assert len(join_tiles([left, right], tiles, (100, 180), InferenceConfig())["boxes"]) == 2
    found = join_tiles([left, right], tiles, (100, 180), InferenceConfig(agnostic_nms=True))
    assert {name: values.tolist() for name, values in found.items()} == {
        "boxes": [[40, 10, 130, 50]],
        "scores": [box(0.9).item()],
        "labels": [2],
    }


def test_each_side_is_taken_from_a_tile_that_does_not_cut_it():
    box = torch.tensor
    left = {"boxes": box([[60.0, 11.0, 100.0, 50.0]]), "scores": box([0.6]), "labels": box([1])}
    right = {"boxes": box([[0.0, 10.0, 70.0, 52.0]]), "scores": box([0.7]), "labels": box([1])}
    found = join_tiles([left, right], box([[0, 0, 100, 100], [80, 0, 180, 100]]), (100, 180), InferenceConfig())
    assert found["boxes"].tolist() == [[60, 10, 150, 52]]
    assert found["scores"].tolist() == [pytest.approx(0.7)]


def test_a_guess_does_not_stretch_a_sure_box():
    box = torch.tensor
    left = {"boxes": box([[60.0, 10.0, 100.0, 50.0]]), "scores": box([0.9]), "labels": box([1])}
    guess = {"boxes": box([[0.0, 10.0, 95.0, 50.0]]), "scores": box([0.1]), "labels": box([1])}
    found = join_tiles([left, guess], box([[0, 0, 100, 100], [80, 0, 180, 100]]), (100, 180), InferenceConfig())
    assert found["boxes"].tolist() == [[60, 10, 100, 50]]


def test_windows_cover_the_image_alike_and_overlap_enough():
    there = windows(250, 1000, 300, 0.2)
    assert {(x2 - x1, y2 - y1) for x1, y1, x2, y2 in there} == {(300, 250)}
    assert [x1 for x1, *_ in there] == [0, 233, 466, 700]
    assert all(before[2] - after[0] >= 60 for before, after in itertools.pairwise(there))
    assert windows(20, 30, 300, 0.2) == [(0, 0, 30, 20)]


def test_as_many_tiles_at_once_as_images_and_small_images_whole(paint, seeing):
    detect = seeing([])
    found = Tiled(detect, 64, 0.0, InferenceConfig())([paint(64, 128, []), paint(20, 30, [])])
    assert detect.shapes == [(3, 64, 64), (3, 64, 64), (3, 20, 30)]
    assert [len(one["boxes"]) for one in found] == [0, 0]


@pytest.mark.parametrize(
    ("side", "overlap", "message"),
    [
        (8, 0.2, "tiles is 8; give 32 or more"),
        ("256", 0.2, "tiles is '256'; give a whole number, 32 or more"),
        (256.5, 0.2, "tiles is 256.5; give a whole number, 32 or more"),
        (64, 1.0, "overlap is 1.0; give 0 to 0.9"),
        (64, math.nan, "overlap is nan"),
    ],
)
def test_mistakes(seeing, side, overlap, message):
    with pytest.raises(UserError, match=message):
        Tiled(seeing([]), side, overlap, InferenceConfig())
