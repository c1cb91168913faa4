"""Detections in files: exact, and matched to the ground truth by image and class names."""

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as pycocotools_mask
from pycocotools.coco import COCO

from cascade_rcnn import rle
from cascade_rcnn.data import Annotations, load_coco
from cascade_rcnn.errors import UserError
from cascade_rcnn.evaluation.detections import have_masks, load_detected, load_detections, save_detections
from cascade_rcnn.rle import RLE

NAMES = {10: "x/a.jpg", 20: "x/b.jpg", 30: "y/b.jpg"}
CATEGORIES = [{"id": 3, "name": "cat"}, {"id": 5, "name": "dog"}]


@pytest.fixture
def truth(tmp_path: Path):
    images = [{"id": k, "file_name": name, "width": 40, "height": 30} for k, name in NAMES.items()]
    content = {"images": images, "annotations": [], "categories": CATEGORIES}
    (tmp_path / "truth.json").write_text(json.dumps(content))
    return load_coco(tmp_path / "truth.json", tmp_path)


def results(tmp_path: Path, *rows: dict) -> Path:
    path = tmp_path / "found.json"
    path.write_text(json.dumps([{"bbox": [1, 2, 3, 4], "score": 0.5, "category_id": 3} | row for row in rows]))
    return path


def test_detections_survive_a_file(tmp_path):
    rng = np.random.default_rng(0)
    detections = np.concatenate([np.full((50, 1), 12345678901.0), rng.random((50, 5)), np.full((50, 1), 7)], axis=1)
    path = tmp_path / "new" / "found.json"
    save_detections(path, detections)
    np.testing.assert_array_equal(load_detections(path), detections)
    assert set(json.loads(path.read_text())[0]) == {"image_id", "category_id", "bbox", "score"}
    save_detections(path, detections[:0])
    assert load_detections(path).shape == (0, 7)
    path.write_text('[{"image_id": "1", "category_id": 2.0, "bbox": [3, 4, 5, 6], "score": 0.5}]')  # as annotations may
    assert load_detections(path).tolist() == [[1, 3, 4, 5, 6, 0.5, 2]]
    assert [p.name for p in path.parent.iterdir()] == ["found.json"]


def test_what_is_not_a_path_is_one_line():
    for read in (load_detections, have_masks):
        with pytest.raises(UserError, match=r"detections is \[\]; give a path"):
            read([])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        '{"images": [], "annotations": []}',
        '[{"image_id": 1, "category_id": 1, "bbox": [0, 0, 1], "score": 0.5}]',
        '[{"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1]}]',
        '[{"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, NaN], "score": 0.5}]',
        '{"annotations": [{"image_id": 1}]}',
        '[{"image_id": [1], "category_id": 1, "bbox": [0, 0, 1, 1], "score": 0.5}]',
        b"\xff\xfe",
    ],
)
def test_a_file_of_another_form_is_named(tmp_path, text):
    path = tmp_path / "wrong.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=r"wrong\.json: not a COCO results file \(.*\); give a JSON list") as caught:
        load_detections(path)
    assert "\n" not in str(caught.value)


def test_a_score_that_is_no_number_is_quoted(tmp_path):
    path = tmp_path / "found.json"  # as Python's json module writes it
    path.write_text(json.dumps([{"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1], "score": float("nan")}]))
    with pytest.raises(UserError, match=r'found\.json: not a COCO results file \(.* near .*"score": NaN'):
        load_detections(path)


def test_text_that_is_not_utf8_is_described_as_such(tmp_path):
    path = tmp_path / "found.json"
    path.write_bytes(b'[{"file_name": "M\xfcll.png"}]')
    with pytest.raises(UserError, match=r"found\.json: this is not UTF-8 text \(.*M.ll\.png.*\); save it as UTF-8"):
        load_detections(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"gone\.json: no such file"):
        load_detections(tmp_path / "gone.json")


def test_images_are_matched_by_name_whatever_their_ids(truth, tmp_path):
    """`predict` numbers the images of a folder; by id, image 1 would not exist or be a different one."""
    rows = [{"image_id": 1, "file_name": "x/b.jpg"}, {"image_id": "a", "file_name": "a.jpg"}, {"image_id": 20}]
    path = results(tmp_path, *rows, {"file_name": "photos/y/b.jpg"}, rows[1])
    assert load_detections(path, truth)[:, 0].tolist() == [20, 10, 20, 30, 10]
    assert load_detections(results(tmp_path, {"image_id": 7, "file_name": "z.jpg"}))[:, 0].tolist() == [7]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"image_id": 10, "file_name": "c.jpg"}], "c.jpg is not an image of .*truth.json; evaluate on annotations of"),
        ([{"image_id": 10, "file_name": "a.png"}], "a.png is not an image of"),
        ([{"image_id": 10, "file_name": "b.jpg"}], "b.jpg: 2 images of .* have this name"),
        ([{"file_name": "x/a.jpg"}, {"file_name": "a.jpg"}], "a.jpg: matches the same image of"),
        ([{}], "entry 0 has neither image_id nor file_name"),
        ([{"image_id": 10}, {"image_id": "a"}], "entry 1 has image_id 'a', which is not the number of an image"),
        ([{"image_id": 10, "category_name": "bird"}], "entry 0 is of class 'bird', which .* does not have"),
        ([{"image_id": 10, "category_id": None}], "entry 0 has no category_id"),
    ],
)
def test_what_cannot_be_matched_is_refused(truth, tmp_path, rows, message):
    with pytest.raises(UserError, match=r"found\.json: " + message) as caught:
        load_detections(results(tmp_path, *rows), truth)
    assert "\n" not in str(caught.value)


def test_classes_are_matched_by_name_whatever_their_ids(truth, tmp_path):
    rows = [
        {"image_id": 10, "category_id": k, "category_name": name} for k, name in ((3, "dog"), (1, "cat"), (5, "dog"))
    ]
    assert load_detections(results(tmp_path, *rows, {"image_id": 10}), truth)[:, 6].tolist() == [5, 3, 5, 3]


def test_saved_with_names_the_file_still_means_the_same_to_pycocotools(truth, tmp_path):
    detections = np.array([[20, 1, 2, 3.3, 4, 0.7, 5], [10, 0, 0, 9, 9, 0.1, 3]])
    save_detections(tmp_path / "found.json", detections, truth)
    rows = json.loads((tmp_path / "found.json").read_text())
    assert [(row["file_name"], row["category_name"]) for row in rows] == [("x/b.jpg", "dog"), ("x/a.jpg", "cat")]
    np.testing.assert_array_equal(load_detections(tmp_path / "found.json", truth), detections)
    with contextlib.redirect_stdout(io.StringIO()):
        theirs = COCO(str(tmp_path / "truth.json")).loadRes(str(tmp_path / "found.json"))
    assert [(a["image_id"], a["category_id"], a["score"]) for a in theirs.dataset["annotations"]] == [
        (20, 5, 0.7),
        (10, 3, 0.1),
    ]


def test_names_are_the_same_however_they_are_encoded(tmp_path):
    """macOS decomposes umlauts into two characters; backslashes come from Windows."""
    images = [{"id": k, "file_name": n, "width": 4, "height": 3} for k, n in enumerate(("u\u0308.jpg", "s/t.jpg"), 1)]
    content = {"images": images, "annotations": [], "categories": CATEGORIES}
    (tmp_path / "truth.json").write_text(json.dumps(content))
    truth = load_coco(tmp_path / "truth.json", tmp_path)
    path = results(tmp_path, {"file_name": "\u00fc.jpg"}, {"file_name": "s\\t.jpg"})
    assert load_detections(path, truth)[:, 0].tolist() == [1, 2]


@pytest.fixture
def with_masks(tmp_path) -> Annotations:
    """Return two images of 30 x 40 with one triangle each."""
    outline = [[2, 3, 12, 3, 2, 20]]
    row = {"category_id": 1, "bbox": [2, 3, 10, 17], "segmentation": outline}
    truth = {
        "images": [{"id": i, "file_name": f"{i}.png", "width": 40, "height": 30} for i in (1, 2)],
        "annotations": [row | {"id": i, "image_id": i} for i in (1, 2)],
        "categories": [{"id": 1, "name": "cat"}],
    }
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(truth))
    return load_coco(path, tmp_path, masks=True)


def _counts(*runs: int) -> bytes:
    return rle.to_string(np.array(runs))


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_masks_are_written_and_read(with_masks, tmp_path):
    masks = [RLE(size=(30, 40), counts=_counts(33, 4, 1163)), RLE(size=(30, 40), counts=_counts(1200))]
    rows = np.array([[1, 1.5, 3, 1, 4, 0.5, 1], [2, 0, 0, 7, 7, 0.25, 1]])
    save_detections(tmp_path / "found.json", rows, with_masks, masks)
    found = load_detected(tmp_path / "found.json", with_masks)
    np.testing.assert_array_equal(found.rows, rows)
    assert found.masks == masks
    np.testing.assert_array_equal(load_detections(tmp_path / "found.json"), rows)
    read = pycocotools_mask.decode(json.loads((tmp_path / "found.json").read_text())[0]["segmentation"])
    assert read[3:7, 1].tolist() == [1, 1, 1, 1]
    assert read.sum() == 4


def test_results_of_other_tools_have_polygons_and_no_boxes(with_masks, tmp_path):
    rows = [
        {"image_id": 2, "category_id": 1, "score": 0.5, "segmentation": [[2, 3, 12, 3, 12, 20, 2, 20]]},
        {"image_id": 1, "category_id": 1, "score": 1, "segmentation": {"size": [30, 40], "counts": [0, 30, 1170]}},
    ]
    path = tmp_path / "found.json"
    path.write_text(json.dumps(rows))
    found = load_detected(path, with_masks)
    assert found.rows.tolist() == [[2, 2, 3, 10, 17, 0.5, 1], [1, 0, 0, 1, 30, 1, 1]]
    assert found.masks is not None
    assert found.masks[1]["counts"] == _counts(0, 30, 1170)


@pytest.mark.parametrize("absent", [None, [], {}, ""])
def test_results_whose_segmentations_are_all_empty_are_boxes(with_masks, tmp_path, absent):
    box = {"image_id": 1, "category_id": 1, "score": 1, "bbox": [0, 0, 9, 9], "segmentation": absent}
    path = results(tmp_path, box, box)
    assert not have_masks(path)
    found = load_detected(path, with_masks)
    assert (found.rows.shape, found.masks) == ((2, 7), None)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"segmentation": [[1, 2, 3]]}, "entry 1 has an unusable segmentation, a polygon of 3 coordinates"),
        ({"segmentation": {"size": [9, 9], "counts": "1"}}, "entry 1 has an unusable segmentation, run lengths of an"),
        ({}, "entry 1 has no segmentation, but others have one"),
        ({"segmentation": [[1, 2, 3, 4, 5, 7]], "image_id": 7}, r"entry 1 has an image id that is not in .* \(7\)"),
    ],
)
def test_masks_that_cannot_be_are_one_line(with_masks, tmp_path, row, message):
    good = {"image_id": 1, "category_id": 1, "score": 1, "segmentation": [[2, 3, 12, 3, 2, 20]], "bbox": [0, 0, 9, 9]}
    bad = {"image_id": 1, "category_id": 1, "score": 1, "bbox": [0, 0, 9, 9]} | row
    with pytest.raises(UserError, match=message) as caught:
        load_detected(results(tmp_path, good, bad), with_masks)
    assert "\n" not in str(caught.value)
