"""Datasets with exactly one fault each: it is found, with its count and record, and nothing else is."""

import io
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import PIL.ExifTags
import PIL.Image
import pytest

import cascade_rcnn
from cascade_rcnn.api.look import look
from cascade_rcnn.errors import UserError
from cascade_rcnn.inspection.kinds import KINDS

Maker: TypeAlias = Callable[[Any], None]  # takes the `Data` of conftest.py
FAULTS: dict[str, tuple[str, int, dict[str, object]]] = {}
MAKERS: dict[str, Maker] = {}


def fault(code: str, number: int, **first: object) -> Callable[[Maker], Maker]:
    """Register a function that adds a fault, what is found, and the fields of the first record."""

    def register(maker: Maker) -> Maker:
        FAULTS[maker.__name__] = (code, number, first)
        MAKERS[maker.__name__] = maker
        return maker

    return register


@fault("missing_image", 1, split="train", image="t2.jpg", image_id=2)
def missing(data):
    del data.images["t2.jpg"]


@fault("missing_image", 1, split="train", image_id=2)
def named_longer_than_any_file(data):
    data.train["images"][1]["file_name"] = f"{'x' * 300}.jpg"


@fault("unreadable_image", 1, split="val", image="v2.jpg", image_id=2)
def damaged(data):
    del data.images["v2.jpg"]
    file = io.BytesIO()
    data.drawing(9).save(file, "JPEG")
    (data.folder / "v2.jpg").write_bytes(file.getvalue()[:700])


@fault("size_differs", 1, image="t2.jpg", detail="128 x 96, annotated as 256 x 192: resized")
def resized(data):
    data.train["images"][1] |= {"width": 2 * data.width, "height": 2 * data.height}


@fault("size_differs", 1, image="t2.jpg", detail="96 x 128, annotated as 128 x 96: annotated before the EXIF rotation")
def annotated_before_the_turn(data):
    data.options["t2.jpg"] = {"exif": orientation(6)}


@fault("shared_file", 1, split="train", image="t1.jpg", image_id=2, detail="same file as image 1")
def shared(data):
    data.train["images"][1]["file_name"] = "t1.jpg"


@fault("classes_differ", 1, split="val", label="newt", detail="id 3 in val, missing or different in train")
def another_class(data):
    data.val["categories"].append({"id": 3, "name": "newt"})
    data.box("val", category_id=3)


@fault("class_without_training", 1, split="val", label="newt", annotation_id=900, detail="1 box in val, none in train")
def nothing_to_learn_from(data):
    another_class(data)
    data.train["categories"].append({"id": 3, "name": "newt"})


@fault("duplicate_across_splits", 1, split="val", image="v9.jpg", image_id=50, detail="identical to t3.jpg in train")
def leaked(data):
    data.add("val", "v9.jpg", data.images["t3.jpg"])


@fault("near_duplicate_across_splits", 1, split="val", image="v9.jpg", image_id=50, detail="similar to t3.jpg in train")
def leaked_smaller(data):
    data.add("val", "v9.jpg", data.images["t3.jpg"].resize((96, 72)), quality=40)
    data.val["annotations"] = data.val["annotations"][:-7]  # the first box fits into the smaller image as well


@fault(
    "version_across_splits",
    1,
    split="val",
    image="f_jpg.rf.2b.jpg",
    detail="made from the same image as f_jpg.rf.1a.jpg in train",
)
def leaked_mirrored(data):
    data.images["f_jpg.rf.1a.jpg"] = data.images.pop("t3.jpg")
    data.train["images"][2]["file_name"] = "f_jpg.rf.1a.jpg"
    data.add("train", "f_jpg.rf.3c.jpg", data.drawing(20))  # within a split, they are wanted
    data.add("val", "f_jpg.rf.2b.jpg", data.images["f_jpg.rf.1a.jpg"].transpose(PIL.Image.Transpose.FLIP_LEFT_RIGHT))


@fault("lost_box", 1, split="train", annotation_id=900, index=8, label="frog", detail="0 x 16 pixels")
def without_width(data):
    data.box(bbox=[70, 70, 0, 16])


@fault("lost_box", 1, split="val", annotation_id=900, detail="at 130, 20 in an image of 128 x 96")
def outside(data):
    data.box("val", bbox=[130, 20, 16, 16])


@fault("reaching_box", 1, split="train", annotation_id=900, detail="4 pixels outside")
def reaching(data):
    data.box(bbox=[data.width - 12, 70, 16, 16])


@fault("repeated_box", 1, annotation_id=900, index=8, detail="IoU 1.00 with box 2 (frog) of the image")
def repeated(data):
    data.box(bbox=[64, 10, 16, 16])


@fault("two_classes", 1, annotation_id=900, label="toad", detail="IoU 1.00 with box 0 (frog) of the image")
def in_two_classes(data):
    data.box(category_id=2, bbox=[4, 10, 16, 16])


@fault("misplaced_mask", 1, split="train", image="t1.jpg", annotation_id=101, label="toad", detail="mask [0, 0, 1, 1]")
def mask_in_fractions(data):
    data.outline()
    data.train["annotations"][1]["segmentation"] = [[0, 0, 1, 0, 1, 1, 0, 1]]


@fault("without_mask", 2, split="train", image="t1.jpg", annotation_id=101, label="toad")
def unusable_masks(data):
    data.outline()
    data.box(id=90, iscrowd=1)  # it needs none
    data.train["annotations"][1]["segmentation"] = [[34, 10, 50, 10]]
    data.train["annotations"][2]["segmentation"] = []


@fault("class_without_validation", 1, split="train", label="toad", detail="20 boxes in train, none elsewhere")
def unmeasured(data):
    data.val["annotations"] = [row for row in data.val["annotations"] if row["category_id"] == 1]


@fault("rare_class", 1, split="train", label="toad", annotation_id=101, detail="19 boxes in train")
def rare(data):
    data.train["annotations"].pop()


@fault("no_anchor", 12, split="train", image="t1.jpg", annotation_id=100, label="frog")
def long_boxes(data):
    for row in data.train["annotations"][:12]:
        row["bbox"][2:] = [16, 1]
    for row in data.train["annotations"][:8]:
        row["bbox"][1] += 3 * row["category_id"]


@fault("tiny_box", 1, annotation_id=900, detail="6.7 x 6.7 pixels in the input")
def tiny(data):
    data.box(bbox=[70, 70, 0.8, 0.8])


def test_thin_boxes_are_tiny_by_their_short_side(data):
    data.box(bbox=[2, 80, 40, 0.4])
    (found,) = (finding for finding in data.look().findings if finding.code == "tiny_box")
    assert [record.detail for record in found.records] == ["333.3 x 3.3 pixels in the input"]


@fault("crowded_image", 1, split="train", image="t1.jpg", detail="101 objects; the model outputs at most 100")
def crowded(data):
    for k in range(93):
        data.box(id=900 + k, bbox=[2 + 12.5 * (k % 10), 1 + 9.3 * (k // 10), 12, 9], category_id=1 + k % 2)


@fault("turned_unclear", 1, image="t2.jpg", detail="orientation 3: rotated by 180 degrees")
def upside_down(data):
    data.options["t2.jpg"] = {"exif": orientation(3)}


@fault("turned_image", 1, image="t2.jpg", detail="orientation 6: rotated by 90 degrees clockwise")
def turned(data):
    data.images["t2.jpg"] = data.images["t2.jpg"].transpose(PIL.Image.Transpose.ROTATE_90)
    data.options["t2.jpg"] = {"exif": orientation(6)}


@fault("narrow_range", 1, split="train", image="t2.png", image_id=2, detail="values up to 4095")
def twelve_bits(data, highest=4095):
    grey = np.asarray(data.images.pop("t2.jpg").convert("L"), np.float64)
    data.train["images"][1]["file_name"] = "t2.png"
    PIL.Image.fromarray((grey / grey.max() * highest).astype(np.uint16)).save(data.folder / "t2.png")


@fault("duplicate_image", 1, split="train", image="t9.jpg", image_id=50, detail="identical to t3.jpg in train")
def twice(data):
    data.add("train", "t9.jpg", data.images["t3.jpg"])


@fault("near_duplicate_image", 1, split="train", image="t9.jpg", detail="similar to t3.jpg in train")
def twice_compressed(data):
    data.add("train", "t9.jpg", data.images["t3.jpg"], quality=30)


@fault("thin_box", 1, annotation_id=900, detail="126 x 5 pixels")
def thin(data):
    data.box(bbox=[1, 70, 126, 5])


@fault("empty_image", 1, split="train", image="t9.jpg", image_id=50)
def empty(data):
    data.add("train", "t9.jpg", data.drawing(77))
    data.train["annotations"] = data.train["annotations"][:-8]


@fault("wrong_extension", 1, split="train", image="t2.jpg", detail="a PNG file")
def png(data):
    data.images["t2.jpg"].save(data.folder / "t2.jpg", "PNG")
    del data.images["t2.jpg"]


@fault("unused_class", 1, label="newt")
def unused(data):
    for split in data.both():
        split["categories"].append({"id": 3, "name": "newt"})


def orientation(number: int) -> bytes:
    exif = PIL.Image.Exif()
    exif[PIL.ExifTags.Base.Orientation] = number
    return exif.tobytes()


def test_nothing_is_found_in_clean_data(data):
    seen = data.look()
    assert seen.findings == ()
    assert not seen.goes_wrong
    assert seen.verdict == "No problems found"


@pytest.mark.parametrize("name", MAKERS)
def test_a_single_fault_is_found_and_nothing_else(data, name):
    code, number, first = FAULTS[name]
    MAKERS[name](data)
    seen = data.look()
    assert [(finding.code, finding.count) for finding in seen.findings] == [(code, number)]
    record = seen.findings[0].records[0]
    assert {field: getattr(record, field) for field in first} == first
    assert seen.goes_wrong == (KINDS[code].severity == "wrong")


def test_a_note_says_what_is_wrong_with_masks(data):
    unusable_masks(data)
    (note,) = (note for note in data.look().notes if "unusable" in note)
    assert "1 of 41 segmentations are unusable" in note
    assert "a polygon of 2 points, in t1.jpg" in note


def test_masks_that_stop_a_training_are_a_note(data):
    """Those of VOC: an image of colours instead of object numbers."""
    for folder in ("Annotations", "JPEGImages", "SegmentationObject"):
        (data.folder / folder).mkdir()
    data.drawing(1).save(data.folder / "JPEGImages/a.jpg")
    data.drawing(1).save(data.folder / "SegmentationObject/a.png")
    box = "<bndbox><xmin>5</xmin><ymin>5</ymin><xmax>30</xmax><ymax>30</ymax></bndbox>"
    size = f"<size><width>{data.width}</width><height>{data.height}</height></size>"
    (data.folder / "Annotations/a.xml").write_text(
        f"<annotation><filename>a.jpg</filename>{size}<object><name>frog</name>{box}</object></annotation>"
    )
    seen = look(data.folder)
    assert [split.boxes for split in seen.splits] == [1]
    (note,) = seen.notes
    assert note.startswith("training a model with masks would stop: ")
    assert "a.png: pixel values are not object numbers (mode RGB)" in note


def test_a_training_set_without_boxes(data):
    data.train["annotations"] = []
    seen = data.look()
    assert [(finding.code, finding.count) for finding in seen.findings] == [("no_boxes", 1), ("empty_image", 5)]
    assert seen.goes_wrong
    assert seen.sizes.without(0.5) == 0.0


def test_a_validation_set_without_boxes_which_training_refuses(data):
    data.val["annotations"] = []
    seen = data.look()
    (finding,) = (finding for finding in seen.findings if finding.kind.severity == "wrong")
    assert (finding.code, finding.splits) == ("no_boxes", ["val"])
    with pytest.raises(UserError, match="no objects to detect"):
        cascade_rcnn.train("quickstart", data=data.folder, output=data.folder / "run")


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_grouping_class_that_one_split_uses_is_a_class_of_both(data, split):
    for one in data.both():
        one["categories"] = [{"id": 0, "name": "all", "supercategory": "none"}] + [
            category | {"supercategory": "all"} for category in one["categories"]
        ]
    assert data.look().findings == ()
    data.box(split, category_id=0)
    expected = {"train": {"rare_class", "class_without_validation"}, "val": {"class_without_training"}}
    assert {finding.code for finding in data.look().findings} == expected[split]


@pytest.mark.parametrize(("highest", "found"), [(8191, True), (8192, False)])
def test_an_eighth_of_the_range_of_16_bits_is_little(data, highest, found):
    twelve_bits(data, highest)
    assert [finding.code for finding in data.look().findings] == ["narrow_range"] * found


def test_ignored_boxes_are_counted_apart(data):
    data.box(iscrowd=1)
    data.box("val", category_id=2, iscrowd=1)
    seen = data.look().to_dict()
    assert [(split["boxes"], split["ignored"]) for split in seen["splits"]] == [(40, 1), (24, 1)]
    for split in seen["splits"]:
        assert sum(one["boxes"][split["name"]] for one in seen["classes"]) == split["boxes"]
    for row in data.train["annotations"]:
        row["iscrowd"] = 1
    assert [finding.code for finding in data.look().findings] == ["no_boxes"]


def test_every_kind_of_finding_is_tested():
    by_model = {"missing_label", "class_disagreement", "unreached_label"}  # in test_labels.py
    assert {code for code, _, _ in FAULTS.values()} | by_model | {"no_boxes"} == set(KINDS)


def test_anchors_that_fit_are_named(data):
    long_boxes(data)
    (finding,) = data.look().findings
    assert "--options.anchor-ratios" in finding.advice
    assert "70 %" in finding.advice  # 28 of 40 are covered by the present anchors
