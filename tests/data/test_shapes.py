"""Every box against an independently rasterised outline: polygons and ellipses, by point-in-polygon tests."""

import contextlib
import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cascade_rcnn.data import shapes
from cascade_rcnn.data.shapes import CLASSES, Shape, draw, write_shapes
from cascade_rcnn.errors import UserError

SIZES = [(32, 32), (33, 57), (96, 64), (192, 256), (64, 1024)]


def corners(shape: Shape) -> np.ndarray:
    """Return the outline's corners in the image (an ellipse as a polygon of 4,000)."""
    turn = np.arange(10) * math.pi / 5
    star = np.stack([np.sin(turn), -np.cos(turn)], axis=1) * np.where(np.arange(10) % 2, 0.5, 1.0)[:, None]
    circle = np.linspace(0, 2 * math.pi, 4000, endpoint=False)
    unit = {
        "ellipse": np.stack([np.cos(circle), np.sin(circle)], axis=1),
        "rectangle": np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)], dtype=float),
        "triangle": np.array([(-1, 1), (1, 1), (0, -1)], dtype=float),
        "star": star,
    }[CLASSES[shape.label - 1]]
    cos, sin = math.cos(shape.angle), math.sin(shape.angle)
    return unit * shape.axes @ np.array([(cos, sin), (-sin, cos)]) + shape.center


def rasterise(polygon: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return the pixels whose centre lies inside the polygon, by counting crossings to the right."""
    x, y = np.arange(width) + 0.5, np.arange(height) + 0.5
    (x1, y1), (x2, y2) = polygon.T, np.roll(polygon, -1, axis=0).T
    edges, rows = np.nonzero((y1[:, None] <= y) != (y2[:, None] <= y))
    at = x1[edges] + (y[rows] - y1[edges]) / (y2 - y1)[edges] * (x2 - x1)[edges]
    crossings = np.zeros((height, width), dtype=int)
    np.add.at(crossings, rows, x < at[:, None])
    return crossings % 2 == 1


def tight_box(mask: np.ndarray) -> list[int]:
    rows, columns = np.nonzero(mask)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


@pytest.mark.parametrize("size", SIZES)
def test_boxes_are_tight_around_the_independently_rasterised_shapes(size):
    for index in range(12):
        scene = draw("train", index, size=size, seed=3)
        masks = [rasterise(corners(shape), *size) for shape in scene.shapes]
        assert scene.boxes.tolist() == [tight_box(mask) for mask in masks]
        assert scene.pixels.shape == (*size, 3)
        assert scene.pixels.dtype == np.uint8


def test_a_box_is_close_to_the_continuous_outline():
    """Sharp tips thinner than a pixel may be lost; flat sides lose at most half a pixel."""
    slack = []
    for index in range(40):
        scene = draw("val", index, size=(256, 256), seed=0)
        for shape, box in zip(scene.shapes, scene.boxes, strict=True):
            outline = corners(shape)
            continuous = np.concatenate([outline.min(axis=0), outline.max(axis=0)])
            if continuous.min() >= 0 and continuous.max() <= 256:  # not clipped by the image
                slack.append(np.abs(continuous - box).max())
    assert len(slack) > 80
    assert np.median(slack) < 1
    assert max(slack) < 3


def test_no_shape_is_hidden_beyond_seven_tenths():
    for index in range(40):
        scene = draw("train", index, size=(128, 128), seed=1)
        covered = np.zeros((128, 128), dtype=bool)
        for shape in reversed(scene.shapes):
            mask = rasterise(corners(shape), 128, 128)
            assert (mask & ~covered).sum() >= 0.3 * mask.sum()
            covered |= mask


def test_what_a_shape_covers_differs_from_its_surroundings():
    """The front shape is really drawn inside its box: its mean colour differs from that of a ring around it."""
    differences = []
    for index in range(40):
        scene = draw("train", index, size=(160, 160), seed=2)
        mask = rasterise(corners(scene.shapes[-1]), 160, 160)
        grown = np.pad(mask, 4)
        ring = np.logical_or.reduce([np.roll(grown, s, axis=(0, 1)) for s in ((4, 0), (-4, 0), (0, 4), (0, -4))])
        ring = ring[4:-4, 4:-4] & ~mask
        differences.append(np.linalg.norm(scene.pixels[mask].mean(axis=0) - scene.pixels[ring].mean(axis=0)))
    assert np.median(differences) > 60


def test_an_image_depends_on_seed_split_and_index_alone():
    first = draw("train", 5, size=(64, 64), seed=9)
    assert np.array_equal(first.pixels, draw("train", 5, size=(64, 64), seed=9).pixels)
    for other in (
        draw("val", 5, size=(64, 64), seed=9),
        draw("train", 6, size=(64, 64), seed=9),
        draw("train", 5, size=(64, 64), seed=8),
    ):
        assert not np.array_equal(first.pixels, other.pixels)


def test_counts_classes_and_sizes_are_varied():
    scenes = [draw("train", index, size=(96, 96), seed=0) for index in range(200)]
    counts = np.array([len(scene.shapes) for scene in scenes])
    assert counts.min() >= 1
    assert counts.max() == 8
    assert 3 < counts.mean() < 6
    labels = np.bincount([shape.label for scene in scenes for shape in scene.shapes], minlength=5)
    assert labels[0] == 0
    assert labels[1:].min() > 0.2 * labels.sum()
    sides = np.concatenate([scene.boxes[:, 2:] - scene.boxes[:, :2] for scene in scenes])
    assert np.percentile(sides, 10) < 12
    assert np.percentile(sides, 90) > 30


def test_a_written_set_is_valid_coco_with_the_drawn_pixels(tmp_path):
    folder = write_shapes(tmp_path / "new" / "set", train=5, val=3, size=(48, 64), seed=4)
    for split, count in (("train", 5), ("val", 3)):
        coco = json.loads((folder / f"{split}.json").read_text())
        assert [image["id"] for image in coco["images"]] == list(range(1, count + 1))
        assert [c["name"] for c in coco["categories"]] == list(CLASSES)
        assert [a["id"] for a in coco["annotations"]] == list(range(1, len(coco["annotations"]) + 1))
        for index, image in enumerate(coco["images"]):
            scene = draw(split, index, size=(48, 64), seed=4)
            assert (image["file_name"], image["height"], image["width"]) == (f"{split}/{index + 1:06d}.png", 48, 64)
            with Image.open(folder / "images" / image["file_name"]) as picture:
                assert np.array_equal(np.asarray(picture), scene.pixels)
            mine = [a for a in coco["annotations"] if a["image_id"] == image["id"]]
            boxes = np.array([a["bbox"] for a in mine])
            assert np.array_equal(np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1), scene.boxes)
            assert [a["category_id"] for a in mine] == [shape.label for shape in scene.shapes]
            assert all(a["area"] == a["bbox"][2] * a["bbox"][3] and a["iscrowd"] == 0 for a in mine)


def test_the_same_set_is_not_written_twice(tmp_path):
    folder = write_shapes(tmp_path / "set", train=2, val=1, size=32, seed=0)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    write_shapes(folder, train=2, val=1, size=(32, 32), seed=0)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    with pytest.raises(UserError, match="contains something other than these shapes"):
        write_shapes(folder, train=2, val=1, size=32, seed=1)


def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(split, index, **rest):
        if split == "val":
            raise KeyboardInterrupt
        return draw(split, index, **rest)

    with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
        patch.setattr(shapes, "draw", interrupted)
        write_shapes(tmp_path / "set", train=2, val=1, size=32)
    assert list(tmp_path.iterdir()) == []
    assert (write_shapes(tmp_path / "set", train=2, val=1, size=32) / "val.json").exists()


def test_a_foreign_folder_is_left_alone_and_an_empty_one_filled(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(UserError, match="mine: contains something other"):
        write_shapes(tmp_path / "mine", train=1, val=1, size=32)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]
    (tmp_path / "empty").mkdir()
    assert (write_shapes(tmp_path / "empty", train=1, val=1, size=32) / "train.json").exists()


@pytest.mark.parametrize("wrong", [{"size": 31}, {"size": (64, 8)}, {"train": 0}, {"val": 0}, {"seed": -1}])
def test_bad_arguments_are_named(wrong):
    with pytest.raises(UserError, match=r"shapes: .*give"):
        write_shapes(Path("unused"), **({"train": 1, "val": 1, "size": 32} | wrong))
    assert not Path("unused").exists()
