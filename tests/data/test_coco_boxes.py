"""Boxes that are missing, rotated or corners."""

import numpy as np
import pytest

from cascade_rcnn import rle
from cascade_rcnn.data.coco import load_coco
from cascade_rcnn.data.coco_boxes import corners_note


def test_boxes_that_are_missing_come_from_polygons_or_are_left_out(write_coco, coco_dict, tmp_path):
    boxes = coco_dict["annotations"]
    boxes[0] |= {"bbox": [], "segmentation": [[1, 2, 6, 2, 6, 9], [3, 1, 4, 1, 4, 5]]}
    del boxes[1]["bbox"]
    boxes[1]["segmentation"] = {"counts": [1, 2], "size": [3, 1]}  # of another image
    boxes[2]["segmentation"] = [[0, 0, 99, 0, 99, 99]]  # disagrees with the box
    found = load_coco(write_coco(coco_dict), tmp_path)
    assert found.boxes.tolist() == [[1, 1, 5, 8], [5, 6, 7, 8]]
    assert found.ids.tolist() == [5, 7]
    what = "1 of 3 annotations have no bbox, or one of zeros; that of their segmentation is used"
    assert any(what in note for note in found.notes)
    lost = "1 of 3 annotations have neither bbox nor a usable segmentation (first: annotations[1])"
    assert any(lost in note for note in found.notes)


@pytest.mark.parametrize("bbox", [None, [], [0, 0, 0, 0], [0.0, 0, 0, 0]])
@pytest.mark.parametrize("form", ["polygon", "run lengths", "compressed"])
def test_boxes_that_are_missing_or_zero_come_from_any_segmentation(write_coco, coco_dict, tmp_path, bbox, form):
    """An object in rows 3 to 8 of columns 2 and 3, and rows 4 to 5 of column 4, of an image of 16 x 24."""
    counts = [2 * 24 + 3, 6, 24 - 6, 6, 24 - 5, 2]
    counts.append(16 * 24 - sum(counts))
    text = rle.to_string(np.array(counts)).decode()
    segmentation = {
        "polygon": [[2, 3, 5, 3, 5, 9, 2, 9]],
        "run lengths": {"size": [24, 16], "counts": counts},
        "compressed": {"size": [24, 16], "counts": text},
    }[form]
    coco_dict["annotations"][2] |= {"bbox": bbox, "segmentation": segmentation}
    found = load_coco(write_coco(coco_dict), tmp_path)
    assert found.boxes[2].tolist() == [2, 3, 3, 6]
    assert any("1 of 3 annotations have no bbox, or one of zeros" in note for note in found.notes)


def test_a_box_of_zeros_without_a_segmentation_is_an_empty_box(write_coco, coco_dict, tmp_path):
    coco_dict["annotations"][2] |= {"bbox": [0, 0, 0, 0], "segmentation": []}
    found = load_coco(write_coco(coco_dict), tmp_path)
    assert found.boxes[2].tolist() == [0, 0, 0, 0]
    assert not any("segmentation" in note for note in found.notes)
    assert any("1 of 3 boxes have no size" in note for note in found.notes)


def test_rotated_boxes_are_enclosed_by_upright_ones(write_coco, coco_dict, tmp_path):
    """CVAT writes the box before its rotation; outlines are as in the image, and so are their boxes."""
    boxes = coco_dict["annotations"]
    boxes[0] |= {"attributes": {"occluded": False, "rotation": 90.0}, "segmentation": []}
    boxes[1] |= {"attributes": {"rotation": 0.0}}
    boxes[2] |= {"attributes": {"rotation": 90}, "segmentation": [[5, 6, 12, 6, 12, 14]]}
    found = load_coco(write_coco(coco_dict), tmp_path)
    assert found.boxes.tolist() == [[0.25, 0, 10, 20], [0.5, 2.5, 4, 3], [5, 6, 7, 8]]
    assert any("1 of 3 boxes are rotated" in note for note in found.notes)


def test_a_field_that_evaluation_does_not_know_is_mentioned(write_coco, coco_dict, tmp_path):
    for box, ignore in zip(coco_dict["annotations"], (1, 0, True), strict=True):
        box["ignore"] = ignore
    found = load_coco(write_coco(coco_dict), tmp_path)
    assert found.ignore.tolist() == [False, True, False]
    (note,) = (note for note in found.notes if "`ignore`" in note)
    assert "1 of 3 annotations have `ignore` set (first: annotations[2])" in note  # [0] is a crowd, too
    assert "set `iscrowd`" in note


@pytest.mark.parametrize(
    ("boxes", "noted"),
    [
        ([(10, 10, 30, 30), (50, 20, 90, 40), (60, 5, 100, 50)], True),
        ([(10, 10, 20, 20), (50, 20, 40, 20), (60, 5, 40, 45)], False),  # the same as x, y, width, height
        ([(10, 10, 30, 30), (50, 20, 60, 40), (60, 5, 20, 50)], False),  # some reach outside, but cannot be corners
        ([(10, 5, 50, 25), (1, 2, 30, 40), (1, 1, 9, 9), (5, 5, 9, 9), (9, 6, 99, 50)], False),  # one reaches outside
        ([(0.1, 0.2, 0.3, 0.9)], False),
        ([], False),
    ],
)
def test_boxes_that_seem_to_be_corners_are_noted(boxes, noted):
    boxes = np.array(boxes, np.float64).reshape(-1, 4)
    notes = corners_note(boxes, np.tile((100, 50), (len(boxes), 1)))
    assert [note.startswith("the boxes seem to be corners (x1, y1, x2, y2)") for note in notes] == [True] * noted


def test_corners_are_noted_where_annotations_are_read(write_coco, coco_dict, tmp_path):
    for row, box in zip(coco_dict["annotations"], ([8, 9, 15, 20], [12, 10, 38, 29], [9, 2, 16, 24]), strict=True):
        row["bbox"] = box
    notes = load_coco(write_coco(coco_dict), tmp_path).notes
    assert sum("the boxes seem to be corners" in note for note in notes) == 1
