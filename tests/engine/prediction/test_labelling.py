"""Labelling tools' forms, read back as those tools and libraries read them."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import hotcoco
import numpy as np
import PIL.Image
import pytest

from cascade_rcnn import rle
from cascade_rcnn.config import Category
from cascade_rcnn.engine.prediction.journal import Entry, Journal
from cascade_rcnn.engine.prediction.labelling import write_formats
from cascade_rcnn.errors import UserError
from cascade_rcnn.results import load_supervision

CATEGORIES = (Category(id=3, name='a "cat" & <co>'), Category(id=8, name="dog"))


@pytest.fixture
def journal(tmp_path: Path):
    with Journal(tmp_path / "images.jsonl", {}) as journal:
        two = {"boxes": [(4, 3, 10, 6), (0, 0, 20, 30)], "scores": [0.9, 0.2], "category_ids": [8, 3]}
        journal.add([Entry(file_name="deep/a b.png", image_id=1, width=40, height=30, **two)])
        journal.add([Entry(file_name="none.png", image_id=2, width=20, height=10)])
        journal.add([Entry(file_name="broken.png", image_id=3, error="broken")])
        yield journal


def test_coco_is_a_data_set_that_other_libraries_read(journal, tmp_path):
    assert write_formats(["coco"], journal, CATEGORIES, tmp_path, 0.5) == [tmp_path / "coco.json"]
    content = json.loads((tmp_path / "coco.json").read_text())
    assert [image["file_name"] for image in content["images"]] == ["deep/a b.png", "none.png"]
    (one,) = content["annotations"]
    assert (one["bbox"], one["score"], one["category_id"], one["area"]) == ([4, 3, 10, 6], 0.9, 8, 60)
    assert len(hotcoco.COCO(str(tmp_path / "coco.json")).get_ann_ids()) == 1
    for name, size in (("deep/a b.png", (40, 30)), ("none.png", (20, 10))):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        PIL.Image.new("RGB", size).save(tmp_path / name)
    loaded = load_supervision().DetectionDataset.from_coco(str(tmp_path), str(tmp_path / "coco.json"))
    boxes = {Path(path).name: found.xyxy.tolist() for path, _, found in loaded}
    assert boxes == {"a b.png": [[4, 3, 14, 9]], "none.png": []}


def test_cvat_by_hand(journal, tmp_path):
    assert write_formats(["cvat"], journal, CATEGORIES, tmp_path, 0.1) == [tmp_path / "cvat.xml"]
    tree = ET.parse(tmp_path / "cvat.xml").getroot()
    assert [label.findtext("name") for label in tree.iter("label")] == [c.name for c in CATEGORIES]
    first, second = tree.findall("image")
    assert (first.get("name"), second.get("name"), len(second)) == ("deep/a b.png", "none.png", 0)
    boxes = [[box.get("label"), *(float(box.get(k) or 0) for k in ("xtl", "ytl", "xbr", "ybr"))] for box in first]
    assert boxes == [["dog", 4, 3, 14, 9], [CATEGORIES[0].name, 0, 0, 20, 30]]
    assert not (tmp_path / "coco.json").exists()


def test_label_studio_by_hand(journal, tmp_path):
    write_formats(["label-studio"], journal, CATEGORIES, tmp_path, 0.5)
    first, second = json.loads((tmp_path / "label_studio.json").read_text())
    assert first["data"] == {"image": "/data/local-files/?d=deep/a%20b.png"}
    (region,) = first["predictions"][0]["result"]
    expected = {"x": 10, "y": 10, "width": 25, "height": 20, "rotation": 0, "rectanglelabels": ["dog"]}
    assert region["value"] == expected
    assert (region["original_width"], region["original_height"], region["score"]) == (40, 30, 0.9)
    assert second["predictions"][0]["result"] == []
    interface = ET.parse(tmp_path / "label_studio.xml").getroot()
    assert [label.get("value") for label in interface.iter("Label")] == [c.name for c in CATEGORIES]
    rectangles, image = interface.find("RectangleLabels"), interface.find("Image")
    assert rectangles is not None
    assert image is not None
    assert (region["from_name"], region["to_name"]) == (rectangles.get("name"), image.get("name"))


def test_yolo_by_hand_and_what_it_cannot_hold(journal, tmp_path):
    write_formats(["yolo"], journal, CATEGORIES, tmp_path, 0.5)
    label, *numbers = (tmp_path / "yolo" / "a b.txt").read_text().split()
    assert label == "1"
    np.testing.assert_allclose([float(x) for x in numbers], [9 / 40, 6 / 30, 10 / 40, 6 / 30], atol=1e-6)
    assert (tmp_path / "yolo" / "none.txt").read_text() == ""
    journal.add([Entry(file_name="other/a b.png", image_id=4, width=40, height=30)])
    with pytest.raises(UserError, match="yolo cannot represent these images") as caught:
        write_formats(["yolo"], journal, CATEGORIES, tmp_path, 0.5)
    assert "\n" not in str(caught.value)


@pytest.fixture
def masked(tmp_path: Path):
    """A rectangle with a mask of pixels 5..11 of rows 3..8, and a detection without a pixel."""
    mask = np.zeros((30, 40), np.bool_)
    mask[3:9, 5:12] = True
    counts = [rle.to_string(rle.encode(one, (0, 0, 40, 30), 30, 40)).decode() for one in (mask, mask & False)]
    with Journal(tmp_path / "images.jsonl", {}) as journal:
        two = {"boxes": [(5, 3, 7, 6), (0, 0, 20, 30)], "scores": [0.9, 0.6], "category_ids": [8, 3]}
        journal.add([Entry(file_name="a.png", image_id=1, width=40, height=30, masks=counts, **two)])
        yield journal


def test_masks_are_run_lengths_in_coco_and_polygons_elsewhere(masked, tmp_path):
    write_formats(["coco", "cvat", "label-studio", "yolo"], masked, CATEGORIES, tmp_path, 0.5)
    truth = hotcoco.COCO(str(tmp_path / "coco.json"))
    first, second = (truth.ann_to_mask(one) for one in truth.load_anns([1, 2]))
    assert (first.sum(), second.sum()) == (42, 0)
    assert first[3:9, 5:12].all()

    outline, box = next(ET.parse(tmp_path / "cvat.xml").getroot().iter("image"))
    assert (outline.tag, box.tag) == ("polygon", "box")  # nothing to outline
    points = {tuple(map(float, point.split(","))) for point in str(outline.get("points")).split(";")}
    assert points == {(5.5, 3.5), (11.5, 3.5), (11.5, 8.5), (5.5, 8.5)}  # centres of the corner pixels

    (task,) = json.loads((tmp_path / "label_studio.json").read_text())
    outline, box = task["predictions"][0]["result"]
    assert {(round(x * 0.4, 6), round(y * 0.3, 6)) for x, y in outline["value"]["points"]} == points
    assert (outline["from_name"], outline["value"]["polygonlabels"]) == ("outline", ["dog"])
    assert box["value"]["rectanglelabels"] == [CATEGORIES[0].name]
    assert "PolygonLabels" in (tmp_path / "label_studio.xml").read_text()
    assert (tmp_path / "yolo/a.txt").read_text().strip().count("\n") == 1
    assert not list(tmp_path.glob(".*.json"))
