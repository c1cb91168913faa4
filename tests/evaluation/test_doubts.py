"""Signs that detections are not those of the images, or not in COCO's format."""

import json

import numpy as np
import pytest

from cascade_rcnn import evaluate_detections
from cascade_rcnn.data import load_coco
from cascade_rcnn.evaluation.doubts import doubts


@pytest.fixture
def truth(tmp_path):
    images = [{"id": k, "file_name": f"{k}.png", "width": 100, "height": 50} for k in (3, 1, 2, 4)]
    (tmp_path / "truth.json").write_text(
        json.dumps({"images": images, "annotations": [], "categories": [{"id": 1, "name": "cat"}]})
    )
    return load_coco(tmp_path / "truth.json")


def rows(*boxes, images=(1, 2, 3, 4)):
    return np.array([(image, *box, image / 5, 1) for image in images for box in boxes], np.float64)


def test_plausible_detections_are_not_doubted(truth):
    assert not doubts(rows((0, 0, 100, 50), (60, 20, 45, 20)), truth)  # the last one reaches out a little


@pytest.mark.parametrize(
    ("detections", "note"),
    [
        (rows((10, 10, 20, 20), images=(1, 2, 3)), "1 of 4 images have no detections; are they of the same images?"),
        (rows((60, 30, 90, 45), (10, 10, 40, 30), (70, 5, 95, 20)), "8 of 12 boxes reach outside their image; give x"),
        (rows((0.1, 0.1, 0.5, 0.9)), "all boxes lie within one pixel"),
        (rows((10, 10, 20, 20)) * (1, 1, 1, 1, 1, 0, 1), "all detections have the same score, so that AP depends on"),
        (np.zeros((0, 7)), "there are no detections"),
    ],
)
def test_each_sign_is_noted(truth, detections, note):
    (found,) = doubts(detections, truth)
    assert found.startswith(note)


@pytest.mark.parametrize(
    ("boxes", "form"),
    [
        ([(10, 10, 20, 20), (50, 20, 40, 20)], None),
        ([(10, 10, 30, 30), (50, 20, 90, 40)], "corners (x1, y1, x2, y2)"),
        ([(20, 20, 20, 20), (70, 30, 40, 20)], "the centre, width and height"),
        ([(10, 10, 20, 20), (70, 30, 40, 20)], None),  # half of them are right
        ([(30, 30, 60, 60), (150, 60, 120, 60)], None),  # of an image of another size
    ],
)
def test_boxes_in_another_form_are_noted(tmp_path, boxes, form):
    objects = [(10, 10, 20, 20), (50, 20, 40, 20)]
    images = [{"id": k, "file_name": f"{k}.png", "width": 100, "height": 50} for k in (1, 2)]
    given = [{"image_id": k, "category_id": 1, "bbox": box} for k in (1, 2) for box in objects]
    text = json.dumps({"images": images, "annotations": given, "categories": [{"id": 1, "name": "cat"}]})
    (tmp_path / "truth.json").write_text(text)
    notes = doubts(rows(*boxes, images=(1, 2)), load_coco(tmp_path / "truth.json"))
    expected = f"of 4 objects, 4 are found if boxes are read as {form}, and 0 as they are; give x, y, width and height"
    assert [note for note in notes if "are read as" in note] == ([] if form is None else [expected])


@pytest.mark.parametrize(
    ("box", "form"), [((5, 30, 10, 40), "y, x, height, width"), ((5, 30, 15, 70), "corners (y1, x1, y2, x2)")]
)
def test_boxes_whose_y_comes_first_are_noted(tmp_path, box, form):
    image = {"id": 1, "file_name": "1.png", "width": 100, "height": 50}
    given = {"image_id": 1, "category_id": 1, "bbox": (30, 5, 40, 10)}
    text = json.dumps({"images": [image], "annotations": [given], "categories": [{"id": 1, "name": "cat"}]})
    (tmp_path / "truth.json").write_text(text)
    (note,) = doubts(rows(box, images=(1,)), load_coco(tmp_path / "truth.json"))
    assert note.startswith(f"of 1 object, 1 are found if boxes are read as {form}, and 0 as they are")


def test_detections_with_other_category_ids_are_noted(tmp_path):
    """As of a tool that counts classes from 1, where the annotations count from 0."""
    box, ids = [10, 10, 20, 20], (0, 1, 2)
    images = [{"id": k, "file_name": f"{k}.png", "width": 100, "height": 50} for k in ids]
    objects = [{"image_id": k, "category_id": c, "bbox": box} for k, c in zip(ids, (0, 0, 1), strict=True)]
    categories = [{"id": k, "name": name} for k, name in enumerate(("cat", "dog", "owl"))]
    text = json.dumps({"images": images, "annotations": objects, "categories": categories})
    (tmp_path / "truth.json").write_text(text)
    truth = load_coco(tmp_path / "truth.json")

    def found(*classes):  # the second detection of each image has a lower score
        best = [(image, *box, 0.9, one) for image, one in zip(ids, classes, strict=True)]
        return np.array(best + [(image, *box, 0.1, 0) for image in ids], np.float64)

    assert not doubts(found(0, 0, 1), truth)
    assert not doubts(found(0, 0, 2), truth)  # a mistake of the detector
    note = "of 3 objects found, 3 are found as another class (first: 'cat' as 'dog'); do the category ids"
    assert doubts(found(1, 1, 2), truth) == [f"{note} mean the same?"]


def test_the_notes_are_printed(truth, tmp_path, capsys):
    found = [{"image_id": 1, "category_id": 1, "bbox": [10, 10, 20, 20], "score": 0.5}]
    (tmp_path / "found.json").write_text(json.dumps(found))
    evaluate_detections(tmp_path / "found.json", truth)
    assert "found.json: 3 of 4 images have no detections" in capsys.readouterr().err
