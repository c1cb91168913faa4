from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.multiprocessing

from cascade_rcnn.config import Category
from cascade_rcnn.data.annotations import Annotations
from cascade_rcnn.data.assemble import assemble
from cascade_rcnn.data.coco import load_coco
from cascade_rcnn.errors import UserError


def test_boxes_are_sorted_by_image_and_keep_their_order_within():
    annotations = assemble(
        source="file",
        images_dir=Path("images"),
        categories=[Category(id=4, name="a"), Category(id=9, name="b")],
        image_ids=np.array([7, 5, 6]),
        image_sizes=np.array([[10, 20], [30, 40], [50, 60]]),
        file_names=["x", "y", "z"],
        box_images=np.array([2, 0, 2, 0]),
        boxes=np.array([[1, 1, 1, 1], [2, 2, 2, 2], [3, 3, 3, 3], [4, 4, 4, 4]]),
        areas=np.array([1, 4, 9, 16]),
        labels=np.array([1, 2, 1, 2]),
        ignore=np.array([True, False, False, True]),
        ids=np.array([11, 12, 13, 14]),
    )
    assert annotations.first.tolist() == [0, 2, 2, 4]
    assert annotations.boxes[:, 0].tolist() == [2, 4, 1, 3]
    assert annotations.areas.tolist() == [4, 16, 1, 9]
    assert annotations.labels.tolist() == [2, 2, 1, 1]
    assert annotations.ignore.tolist() == [False, True, True, False]
    assert annotations.ids.tolist() == [12, 14, 11, 13]
    assert [annotations.rows(i) for i in range(3)] == [slice(0, 2), slice(2, 2), slice(2, 4)]
    assert annotations.path(2) == Path("images/z")
    assert len(annotations) == 3
    assert annotations.boxes.dtype == torch.float64
    assert annotations.labels.dtype == torch.int32


def test_boxes_without_four_numbers_are_counted(make_annotations):
    nan = float("nan")
    with pytest.raises(UserError, match=r"a box in 0\.png is \[1, nan, 2, 3\]; give four finite numbers or remove it$"):
        make_annotations([(30, 40)], [[(1, nan, 2, 3), (1, 2, 3, 4)]])
    with pytest.raises(UserError, match=r"a box in 0\.png is \[1, nan, 2, 3\]; .* or remove it \(2 of 3 boxes\)$"):
        make_annotations([(30, 40), (30, 40)], [[(1, nan, 2, 3), (1, 2, 3, 4)], [(nan, nan, 2, 3)]])


def test_notes_count_each_problem_and_name_the_first(make_annotations):
    annotations = make_annotations(
        [(30, 40), (30, 40), (30, 40)],
        [
            [(0, 0, 40.4, 30), (1, 2, 3, 4), (-3, 0, 5, 5), (1, 2, 3, 4)],  # valid, valid, reaching outside, duplicate
            [(5, 5, 0, 3), (50, 0, 5, 5), (30, 0, 20, 5)],  # empty, outside, reaching outside
            [],
        ],
    )
    reaching, lost, repeated, empty, ignored = annotations.notes
    assert reaching == (
        "made: 2 of 7 boxes reach outside their image; training clips them, evaluation does not "
        "(first: [-3, 0, 5, 5] in 0.png, 40 x 30)"
    )
    assert lost.startswith(
        "made: 2 of 7 boxes have no size or lie outside their image; training ignores them, but evaluation does not"
    )
    assert lost.endswith("(first: [5, 5, 0, 3] in 1.png, 40 x 30)")
    assert repeated.startswith("made: 1 of 7 boxes are duplicates in the same image and class; they are kept")
    assert repeated.endswith("(first: [1, 2, 3, 4] in 0.png, 40 x 30)")
    assert empty == "made: 1 of 3 images have no boxes; they count as background"
    assert ignored == "made: 3 of 7 boxes are crowds or difficult; they are ignored in training and evaluation"
    assert len(annotations.boxes) == 7


def test_clean_annotations_have_no_notes(make_annotations):
    assert make_annotations([(30, 40)], [[(0, 0, 40, 30)]]).notes == ()


def one_box(names: Sequence[str], images: Sequence[int], category: int = 1) -> Annotations:
    """Assemble annotations with one box, in the first image; ids of classes count from `category`."""
    return assemble(
        source="file",
        images_dir=Path("images"),
        categories=[Category(id=k, name=name) for k, name in enumerate(names, start=category)],
        image_ids=np.array(images),
        image_sizes=np.array([[10, 20]] * len(images)),
        file_names=["x", "y"][: len(images)],
        box_images=np.array([0]),
        boxes=np.array([[1, 1, 1, 1]]),
        areas=np.array([1]),
        labels=np.array([1]),
        ignore=np.array([False]),
        ids=np.array([11]),
    )


def test_classes_of_one_name_are_mentioned_in_any_format():
    assert one_box("aba", [3]).notes[0] == "file: two classes are named 'a'; they remain separate"


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_coordinates_that_are_not_numbers(make_annotations, one_line, bad):
    with pytest.raises(UserError) as caught:
        make_annotations([(30, 40), (30, 40)], [[(0, 0, 1, 1)], [(0, bad, 1, 1)]])
    one_line(caught, "made", "1.png", f"{bad:g}")


@pytest.mark.parametrize(
    ("image", "category", "line"), [(-5, 1, "image id -5"), (2**53 + 1, 1, "image id 9007"), (1, -2, "class id -2")]
)
def test_ids_that_evaluation_cannot_hold(image, category, line):
    with pytest.raises(UserError, match=f"^file: {line}.* is not between 0 and 2"):
        one_box("a", [3, image], category)


def test_no_images(make_annotations, one_line):
    with pytest.raises(UserError) as caught:
        make_annotations([])
    one_line(caught, "made", "no images")


@pytest.mark.parametrize(("one", "other"), [("Car", "car"), ("traffic light", " traffic  light")])
def test_names_that_differ_only_in_case_or_spaces_are_mentioned(write_coco, coco_dict, tmp_path, one, other):
    for category, name in zip(coco_dict["categories"], (one, other), strict=True):
        category["name"] = name
    notes = load_coco(write_coco(coco_dict), tmp_path).notes
    assert any("differ only in case or spaces; they remain separate" in note and repr(one) in note for note in notes)
