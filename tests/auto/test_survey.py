from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cascade_rcnn import Category, UserError
from cascade_rcnn.auto.survey import survey
from cascade_rcnn.data.annotations import Annotations
from cascade_rcnn.data.assemble import assemble


def _annotations(boxes: list, ignore: list[bool] | None = None) -> Annotations:
    """Return annotations of two images, 100 x 50 and 200 x 100 (width, height); only the first box is in the first."""
    return assemble(
        source="a.json",
        images_dir=Path(),
        categories=(Category(id=1, name="nut"), Category(id=2, name="bolt")),
        image_ids=np.array([1, 2]),
        image_sizes=np.array([[50, 100], [100, 200]]),
        file_names=["a", "b"],
        box_images=np.array([0] + [1] * (len(boxes) - 1)),
        boxes=np.array(boxes, float),
        areas=np.ones(len(boxes)),
        labels=np.ones(len(boxes), np.int64),
        ignore=np.array(ignore or [False] * len(boxes)),
        ids=np.arange(len(boxes)),
    )


def test_boxes_are_those_inside_their_images_that_are_learned_from():
    found = survey(
        _annotations([[90, 10, 20, 20], [0, 0, 8, 4], [0, 0, 9, 9], [300, 0, 5, 5]], [False] * 2 + [True, False])
    )
    assert found.shapes.tolist() == [[10, 20], [8, 4]]  # the other boxes are clipped, ignored or outside
    assert found.classes == [("nut", 2), ("bolt", 0)]
    assert found.short_side == 75
    # a short side of 100 means scales 2 and 1; with a long side of at most 150, 1.5 and .75
    assert found.resized(100, 1000).tolist() == [[20, 40], [8, 4]]
    assert found.resized(100, 150).tolist() == [[15, 30], [6, 3]]
    assert str(found) == "2 images of about 150 x 75 pixels, 2 boxes of 2 classes (nut 2, bolt 0)"
    assert found.warnings == ["classes with fewer than 20 boxes will hardly be learned: nut 2, bolt 0"]


def test_classes_of_the_same_name_are_counted_apart():
    boxes = _annotations([[0, 0, 9, 9], [0, 0, 8, 4]])
    found = survey(replace(boxes, categories=(Category(id=1, name="nut"), Category(id=2, name="nut"))))
    assert str(found).endswith("2 boxes of 2 classes (nut 2, nut 0)")


def test_repeat_factors_of_the_images():
    boxes = _annotations([[0, 0, 9, 9], [0, 0, 8, 4]])
    assert survey(boxes).repeats is None
    repeats = survey(boxes, 4.0).repeats  # of a class in all images: sqrt(4 / 1)
    assert repeats is not None
    assert repeats.tolist() == [2, 2]


def test_without_a_box_to_learn_from_there_is_nothing_to_choose_by():
    with pytest.raises(UserError, match=r"a\.json: there are no boxes to learn from"):
        survey(_annotations([[0, 0, 9, 9]], [True]))
