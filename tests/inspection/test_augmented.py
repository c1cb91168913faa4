"""Augmented samples: the dataset as training sees it."""

import torch

from cascade_rcnn.config.augmentation import CopyPasteConfig
from cascade_rcnn.data import load_annotations
from cascade_rcnn.inspection.augmented import samples
from cascade_rcnn.inspection.splits import read_split
from cascade_rcnn.recipes import DataConfig, Recipe


def split_of(data):
    annotations = load_annotations(data.save() / "train.json", bad_images="keep")
    return read_split("train", annotations, is_training=True, max_megapixels=9, advance=lambda images: None)


def test_boxes_move_with_the_pixels(data):
    """Always flipped: x1 becomes 128 - x2."""
    drawn = list(samples(split_of(data), Recipe(data=DataConfig(flip=1.0)), images=2, draws=1))
    assert [(one.name, one.draw) for one in drawn] == [("t1.jpg", 0), ("t1.jpg", 1), ("t5.jpg", 0), ("t5.jpg", 1)]
    plain, mirrored = drawn[:2]
    assert (mirrored.pixels == plain.pixels[:, ::-1]).all()
    assert torch.equal(mirrored.boxes[:, [0, 2]], 128 - plain.boxes[:, [2, 0]])
    assert torch.equal(mirrored.labels, plain.labels)


def test_draws_differ_and_come_again(data):
    split, recipe = split_of(data), Recipe(data=DataConfig(jitter=(0.5, 2.0), jitter_size=64))
    first, second = (list(samples(split, recipe, images=1, draws=3)) for _ in range(2))
    assert all((a.pixels == b.pixels).all() for a, b in zip(first, second, strict=True))
    assert [one.pixels.shape for one in first] == [(96, 128, 3), *[(64, 64, 3)] * 3]
    assert not (first[1].pixels == first[2].pixels).all()


def test_objects_are_pasted_by_their_masks(data):
    data.outline()
    seen = data.look(augment=Recipe(augmentation=(CopyPasteConfig(),)))  # would refuse data without masks
    assert seen.splits[0].annotations.segmentations is not None


def test_images_that_cannot_be_used_are_left_out(data):
    del data.images["t1.jpg"]
    assert {one.name for one in samples(split_of(data), Recipe(), images=9, draws=1)} == {
        "t2.jpg",
        "t3.jpg",
        "t4.jpg",
        "t5.jpg",
    }
    data.train["annotations"] = []
    assert list(samples(split_of(data), Recipe())) == []
