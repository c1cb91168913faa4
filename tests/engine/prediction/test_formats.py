"""The formats of labelling tools, read back as those tools and libraries read them."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import get_args

import hotcoco
import numpy as np
import PIL.Image
import pytest
import yaml

from cascade_rcnn import rle
from cascade_rcnn.config import Category
from cascade_rcnn.data import load_annotations
from cascade_rcnn.engine.prediction.formats import check_names, write_formats
from cascade_rcnn.engine.prediction.formats.parquet import COLUMNS
from cascade_rcnn.engine.prediction.formats.write import NAMES, Format
from cascade_rcnn.engine.prediction.journal import Entry, Journal
from cascade_rcnn.errors import UserError
from cascade_rcnn.results import load_supervision

CATEGORIES = (Category(id=3, name='a "cat" & <co>'), Category(id=8, name="dog"))
AT = {least: {3: least, 8: least} for least in (0.1, 0.5)}  # minimum scores by category


@pytest.fixture
def journal(tmp_path: Path):
    with Journal(tmp_path / "images.jsonl", {}) as journal:
        two = {"boxes": [(4, 3, 10, 6), (0, 0, 20, 30)], "scores": [0.9, 0.2], "category_ids": [8, 3]}
        journal.add([Entry(file_name="deep/a b.png", image_id=1, width=40, height=30, **two)])
        journal.add([Entry(file_name="none.png", image_id=2, width=20, height=10)])
        journal.add([Entry(file_name="broken.png", image_id=3, error="broken")])
        yield journal


def test_the_names_are_those_of_all_formats(journal, tmp_path):
    before = set(tmp_path.iterdir())
    write_formats(get_args(Format), journal, CATEGORIES, tmp_path, AT[0.5])
    assert {path.name for path in set(tmp_path.iterdir()) - before} == set(NAMES)


def test_coco_is_a_data_set_that_other_libraries_read(journal, tmp_path):
    assert write_formats(["coco"], journal, CATEGORIES, tmp_path, AT[0.5]) == [tmp_path / "coco.json"]
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
    assert write_formats(["cvat"], journal, CATEGORIES, tmp_path, AT[0.1]) == [tmp_path / "cvat.xml"]
    tree = ET.parse(tmp_path / "cvat.xml").getroot()
    assert [label.findtext("name") for label in tree.iter("label")] == [c.name for c in CATEGORIES]
    first, second = tree.findall("image")
    assert (first.get("name"), second.get("name"), len(second)) == ("deep/a b.png", "none.png", 0)
    boxes = [[box.get("label"), *(float(box.get(k) or 0) for k in ("xtl", "ytl", "xbr", "ybr"))] for box in first]
    assert boxes == [["dog", 4, 3, 14, 9], [CATEGORIES[0].name, 0, 0, 20, 30]]
    assert not (tmp_path / "coco.json").exists()


def test_label_studio_by_hand(journal, tmp_path):
    write_formats(["label-studio"], journal, CATEGORIES, tmp_path, AT[0.5])
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
    journal.add([Entry(file_name="other/a b.png", image_id=4, width=40, height=30)])
    write_formats(["yolo"], journal, CATEGORIES, tmp_path, AT[0.5])
    label, *numbers = (tmp_path / "yolo/labels/deep/a b.txt").read_text().split()
    assert label == "1"
    np.testing.assert_allclose([float(x) for x in numbers], [9 / 40, 6 / 30, 10 / 40, 6 / 30], atol=1e-6)
    assert (tmp_path / "yolo/labels/none.txt").read_text() == (tmp_path / "yolo/labels/other/a b.txt").read_text() == ""
    config = yaml.safe_load((tmp_path / "yolo/data.yaml").read_text())
    names = {0: CATEGORIES[0].name, 1: "dog"}
    assert config == {"train": "images", "val": "images", "nc": 2, "names": names}
    journal.add([Entry(file_name="other/a b.jpg", image_id=5, width=40, height=30)])
    with pytest.raises(UserError, match="yolo cannot represent these images") as caught:
        write_formats(["yolo"], journal, CATEGORIES, tmp_path, AT[0.5])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("form", ["coco", "voc", "yolo"])
def test_what_is_written_is_read_again(journal, tmp_path, form):
    (path,) = write_formats([form], journal, CATEGORIES, tmp_path, AT[0.1])
    for name, size in (("deep/a b.png", (40, 30)), ("none.png", (20, 10))):
        image = (path / "images" if form == "yolo" else tmp_path) / name
        image.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.new("RGB", size).save(image)
    truth = load_annotations(path, None if form == "yolo" else tmp_path)
    names = {one.id: one.name for one in truth.categories}
    found = {
        Path(truth.file_names[i]).name: {
            (truth.categories[int(label) - 1].name, *(round(x, 3) for x in box.tolist()))
            for label, box in zip(truth.labels[truth.rows(i)], truth.boxes[truth.rows(i)], strict=True)
        }
        for i in range(len(truth))
    }
    assert set(names.values()) == {one.name for one in CATEGORIES}
    assert found == {"a b.png": {("dog", 4, 3, 10, 6), (CATEGORIES[0].name, 0, 0, 20, 30)}, "none.png": set()}


def test_yolo_labels_of_nested_folders_called_images_are_found_where_readers_look(tmp_path):
    names = ["train/images/a.png", "val/images/a.png", "images/b.png"]
    one = {"boxes": [(4, 3, 10, 6)], "scores": [0.9], "category_ids": [8]}
    with Journal(tmp_path / "images.jsonl", {}) as journal:
        journal.add([Entry(file_name=n, image_id=k, width=40, height=30, **one) for k, n in enumerate(names)])
        (path,) = write_formats(["yolo"], journal, CATEGORIES, tmp_path, AT[0.5])
    assert (path / "images/train/labels/a.txt").exists()
    for name in names:
        (path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.new("RGB", (40, 30)).save(path / "images" / name)
    truth = load_annotations(path)
    assert sorted(truth.file_names[i] for i in range(3)) == sorted(f"images/{name}" for name in names)
    assert truth.first.tolist() == [0, 1, 2, 3]
    assert truth.notes == ()


def test_voc_cannot_hold_two_images_of_one_stem(journal, tmp_path):
    write_formats(["voc"], journal, CATEGORIES, tmp_path, AT[0.5])
    journal.add([Entry(file_name="deep/a b.jpg", image_id=4, width=40, height=30)])
    with pytest.raises(UserError, match="voc cannot represent these images") as caught:
        write_formats(["voc"], journal, CATEGORIES, tmp_path, AT[0.5])
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in (tmp_path / "voc" / "Annotations").rglob("*.xml")) == ["a b.xml", "none.xml"]


@pytest.mark.parametrize("form", ["voc", "yolo"])
def test_two_images_that_would_share_a_file_are_named(tmp_path, form):
    fine, shared = (
        ["a.png", "deep/a.png", "deep/a.b.png"],
        "format .*: a.png and a.jpg would share the file a.(xml|txt);",
    )
    check_names([form], fine)
    check_names(["coco", "cvat", "label-studio", "parquet"], [*fine, "a.jpg"])
    with pytest.raises(UserError, match=shared) as caught:
        check_names(["coco", form], [*fine, "a.jpg"])
    assert "\n" not in str(caught.value)


def test_two_images_whose_annotated_pictures_would_share_a_file_are_named():
    check_names([], ["a.png", "a.jpg", "a.bmp", "deep/a.bmp.png"], pictures=True)
    check_names(["coco"], ["a.bmp", "a.bmp.png"])
    with pytest.raises(UserError, match=r"^pictures: a.bmp and a.bmp.png would share the file a.bmp.png; rename one"):
        check_names([], ["a.bmp", "a.bmp.png"], pictures=True)


@pytest.mark.parametrize("form", ["cvat", "label-studio", "voc"])
def test_xml_of_class_names_with_control_characters_is_valid(journal, tmp_path, form):
    categories = (Category(id=3, name="cat"), Category(id=8, name="d\x01og"))
    write_formats([form], journal, categories, tmp_path, AT[0.5])
    texts = [ET.tostring(ET.parse(path).getroot(), "unicode") for path in tmp_path.rglob("*.xml")]
    assert any(r"d\x01og" in text for text in texts)


def test_parquet_by_hand(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    two = {"boxes": [(4.5, 3, 10, 6), (0, 0, 20, 30)], "scores": [0.9, 0.2], "category_ids": [8, 3]}
    with Journal(tmp_path / "images.jsonl", {}) as journal:
        journal.add([Entry(file_name="a.png", image_id=1, width=40, height=30, **two)])
        journal.add([Entry(file_name="none.png", image_id=2, width=20, height=10)])
        journal.add([Entry(file_name="f_3.jpg", image_id=3, width=40, height=30, track_ids=[7, None], time=0.5, **two)])
        write_formats(["parquet"], journal, CATEGORIES, tmp_path, {3: 0.1, 8: 0.95} | AT[0.1])
    table = parquet.read_table(tmp_path / "detections.parquet")
    assert {field.name: str(field.type) for field in table.schema} == COLUMNS
    first, *_, last = table.to_pylist()
    assert first == {
        "image_id": 1,
        "file_name": "a.png",
        "image_width": 40,
        "image_height": 30,
        "category_id": 8,
        "category_name": "dog",
        "x1": 4.5,
        "y1": 3,
        "x2": 14.5,
        "y2": 9,
        "score": 0.9,
        "track_id": None,
        "time": None,
        "mask": None,
    }
    assert (table.num_rows, last["track_id"], last["time"]) == (4, None, 0.5)
    assert table.column("track_id").to_pylist() == [None, None, 7, None]


def test_each_class_has_its_own_threshold(journal, tmp_path):
    write_formats(["coco"], journal, CATEGORIES, tmp_path, {3: 0.1, 8: 0.95})
    content = json.loads((tmp_path / "coco.json").read_text())
    assert [one["category_id"] for one in content["annotations"]] == [3]


@pytest.fixture
def masked(tmp_path: Path):
    """Return a journal of a rectangle whose mask has pixels 5..11 of rows 3..8, and a detection with an empty mask."""
    mask = np.zeros((30, 40), np.bool_)
    mask[3:9, 5:12] = True
    counts = [rle.to_string(rle.encode(one, (0, 0, 40, 30), 30, 40)).decode() for one in (mask, mask & False)]
    with Journal(tmp_path / "images.jsonl", {}) as journal:
        two = {"boxes": [(5, 3, 7, 6), (0, 0, 20, 30)], "scores": [0.9, 0.6], "category_ids": [8, 3]}
        journal.add([Entry(file_name="a.png", image_id=1, width=40, height=30, masks=counts, **two)])
        yield journal


def test_masks_are_run_lengths_in_coco_and_polygons_elsewhere(masked, tmp_path):
    write_formats(["coco", "cvat", "label-studio", "yolo"], masked, CATEGORIES, tmp_path, AT[0.5])
    truth = hotcoco.COCO(str(tmp_path / "coco.json"))
    first, second = (truth.ann_to_mask(one) for one in truth.load_anns([1, 2]))
    assert (first.sum(), second.sum()) == (42, 0)
    assert [one["area"] for one in truth.load_anns([1, 2])] == [42, 0]
    assert first[3:9, 5:12].all()

    outline, box = next(ET.parse(tmp_path / "cvat.xml").getroot().iter("image"))
    assert (outline.tag, box.tag) == ("polygon", "box")  # an empty mask has no outline
    points = {tuple(map(float, point.split(","))) for point in str(outline.get("points")).split(";")}
    assert points == {(5.5, 3.5), (11.5, 3.5), (11.5, 8.5), (5.5, 8.5)}  # centres of the corner pixels

    (task,) = json.loads((tmp_path / "label_studio.json").read_text())
    outline, box = task["predictions"][0]["result"]
    assert {(round(x * 0.4, 6), round(y * 0.3, 6)) for x, y in outline["value"]["points"]} == points
    assert (outline["from_name"], outline["value"]["polygonlabels"]) == ("outline", ["dog"])
    assert box["value"]["rectanglelabels"] == [CATEGORIES[0].name]
    assert "PolygonLabels" in (tmp_path / "label_studio.xml").read_text()
    rows = [line.split() for line in (tmp_path / "yolo/labels/a.txt").read_text().splitlines()]
    assert [(row[0], len(row)) for row in rows] == [("1", 9), ("0", 9)]  # a mask of four corners; a box as polygon
    assert not list(tmp_path.glob(".*.json"))


def test_a_mask_in_parts_and_with_a_hole_is_one_object_everywhere(tmp_path):
    """A ring of 12 x 12 pixels around a hole of 4 x 4, and a square of 4 x 4 elsewhere."""
    mask = np.zeros((30, 40), np.bool_)
    mask[2:14, 2:14] = mask[20:24, 20:24] = True
    mask[6:10, 6:10] = False
    counts = [rle.to_string(rle.encode(mask, (0, 0, 40, 30), 30, 40)).decode()]
    with Journal(tmp_path / "images.jsonl", {}) as journal:
        one = {"boxes": [(2, 2, 22, 22)], "scores": [0.9], "category_ids": [8], "masks": counts}
        journal.add([Entry(file_name="a.png", image_id=1, width=40, height=30, **one)])
        write_formats(["cvat", "label-studio"], journal, CATEGORIES, tmp_path, AT[0.5])
    (shape,) = next(ET.parse(tmp_path / "cvat.xml").getroot().iter("image"))
    points = [tuple(map(float, point.split(","))) for point in str(shape.get("points")).split(";")]
    x, y = np.array(points).T
    enclosed = abs((x * np.roll(y, -1) - y * np.roll(x, -1)).sum()) / 2
    assert enclosed == pytest.approx(11**2 + 3**2 - 5**2, abs=2)  # through the centres of border pixels
    (task,) = json.loads((tmp_path / "label_studio.json").read_text())
    (region,) = task["predictions"][0]["result"]
    assert len(region["value"]["points"]) == len(points)


def _read_back(folder: Path) -> tuple[list[np.ndarray], list[list[float]]]:
    """Return masks and boxes of a.png, 80 x 60, as our reader of YOLO polygons finds them."""
    (folder / "images").mkdir()
    PIL.Image.new("RGB", (80, 60)).save(folder / "images/a.png")
    truth = load_annotations(folder, masks=True)
    assert truth.segmentations is not None
    return list(truth.segmentations.masks(range(len(truth.boxes)), 60, 80).dense().numpy() > 0), truth.boxes.tolist()


def test_class_names_in_yolo_are_those_that_a_yaml_reader_returns(journal, tmp_path):
    names = ["\N{CAT FACE}", "Zähler", 'a "b": \\n', "line\nfeed\x85\u2028"]
    categories = [Category(id=k, name=name) for k, name in zip((1, 2, 3, 8), names, strict=True)]
    (folder,) = write_formats(["yolo"], journal, categories, tmp_path, {k.id: 0.1 for k in categories})
    assert yaml.safe_load((folder / "data.yaml").read_text("utf-8"))["names"] == dict(enumerate(names))


def test_masks_go_through_yolo_unharmed(tmp_path):
    """Masks with holes, in parts, and one pixel thin; a detection with an empty mask comes back as its box."""
    y, x = np.mgrid[:60, :80]
    near, far = (y - 30) ** 2 + (x - 40) ** 2, (y - 50) ** 2 + (x - 70) ** 2
    masks = [near < 400, (near < 400) & (near > 100), (near < 100) | (far < 40), y == np.minimum(x, 20), near == 0]
    counts = [rle.to_string(rle.encode(one, (0, 0, 80, 60), 60, 80)).decode() for one in (*masks, y < 0)]
    boxes = [(20.0, 10.0, 41.0, 41.0)] * 5 + [(8.0, 6.0, 16.0, 12.0)]
    many = {"boxes": boxes, "scores": [0.9] * 6, "category_ids": [8] * 6, "masks": counts}
    with Journal(tmp_path / "images.jsonl", {}) as journal:
        journal.add([Entry(file_name="a.png", image_id=1, width=80, height=60, **many)])
        (folder,) = write_formats(["yolo"], journal, CATEGORIES, tmp_path, AT[0.5])
    found, places = _read_back(folder)
    for one, back in zip(masks, found, strict=False):
        assert (one & back).sum() / (one | back).sum() == 1
    np.testing.assert_allclose(places[5], boxes[5], atol=1e-3)
