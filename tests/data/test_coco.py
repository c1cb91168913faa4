import json

import pytest

from cascade_rcnn.data.coco import load_coco, save_coco
from cascade_rcnn.data.check import check_images
from cascade_rcnn.errors import UserError


def test_hand_made_file(write_coco, coco_dict, tmp_path):
    annotations = load_coco(write_coco(coco_dict), tmp_path)
    assert [(c.id, c.name) for c in annotations.categories] == [(3, "dog"), (7, "cat")]
    assert annotations.image_ids.tolist() == [20, 10]
    assert annotations.image_sizes.tolist() == [[30, 40], [24, 16]]
    assert list(annotations.file_names) == ["b.png", "sub/a.png"]
    assert annotations.path(1) == tmp_path / "sub/a.png"
    assert annotations.first.tolist() == [0, 1, 3]
    assert annotations.boxes.tolist() == [[0.25, 0, 10, 20], [1, 2, 3, 4], [5, 6, 7, 8]]
    assert annotations.areas.tolist() == [200, 9.5, 56]
    assert annotations.labels.tolist() == [1, 2, 1]
    assert annotations.ignore.tolist() == [False, True, False]
    assert annotations.ids.tolist() == [6, 5, 7]
    assert annotations.notes == ()


def test_optional_fields_may_be_null_or_boolean(write_coco, coco_dict, tmp_path):
    coco_dict["annotations"][0] |= {"area": None, "iscrowd": True}
    coco_dict["annotations"][1] |= {"iscrowd": None}
    annotations = load_coco(write_coco(coco_dict), tmp_path)
    assert annotations.areas.tolist() == [200, 12, 56]
    assert annotations.ignore.tolist() == [False, True, False]


def test_no_boxes(write_coco, coco_dict, tmp_path):
    annotations = load_coco(write_coco(coco_dict | {"annotations": []}), tmp_path)
    assert annotations.boxes.shape == (0, 4)
    assert annotations.first.tolist() == [0, 0, 0]


@pytest.mark.parametrize(("change", "note"), [("drop", "1 boxes have no id"), ("repeat", "some boxes share an id")])
def test_unusable_box_ids_are_numbered_anew(write_coco, coco_dict, tmp_path, change, note):
    if change == "drop":
        del coco_dict["annotations"][1]["id"]
    else:
        coco_dict["annotations"][1]["id"] = 5
    annotations = load_coco(write_coco(coco_dict), tmp_path)
    assert sorted(annotations.ids.tolist()) == [1, 2, 3]
    assert len(annotations.notes) == 1
    assert note in annotations.notes[0]


def _broken(coco: dict, case: str) -> object:
    first_image, first_box = coco["images"][0], coco["annotations"][0]
    match case:
        case "unknown image":
            coco["annotations"][2]["image_id"] = 99
        case "unknown category":
            coco["annotations"][1]["category_id"] = 99
        case "results list":
            return [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1], "score": 0.5}]
        case "labelme":
            return {"version": "5.0.1", "shapes": [], "imagePath": "a.jpg"}
        case "duplicate image":
            coco["images"][1]["id"] = 20
        case "duplicate category":
            coco["categories"][1]["id"] = 7
        case "nan":
            first_box["bbox"][1] = float("nan")
        case "null":
            first_box["bbox"][1] = None
        case "text":
            first_box["bbox"] = "1 2 3 4"
        case "three numbers":
            first_box["bbox"] = [1, 2, 3]
        case "no width":
            del first_image["width"]
        case "zero width":
            first_image["width"] = 0
        case "huge id":
            first_box["image_id"] = 2**64
        case "no images":
            return coco | {"images": [], "annotations": []}
        case "no categories":
            return coco | {"categories": [], "annotations": []}
        case "truncated":
            return json.dumps(coco)[:-5]
        case "not json":
            return "<annotation/>"
    return coco


@pytest.mark.parametrize(
    ("case", "parts"),
    [
        ("unknown image", ["annotations[2] has image_id 99", "1 such boxes"]),
        ("unknown category", ["annotations[1] has category_id 99", "add the category"]),
        ("results list", ["no COCO detection file", "Expected `object`, got `array`"]),
        ("labelme", ["no COCO detection file", "missing required field `images`"]),
        ("duplicate image", ["2 entries share the image id 20"]),
        ("duplicate category", ["2 entries share the category id 7"]),
        ("nan", ["not valid JSON", "[1, NaN, 3, 4]"]),
        ("null", ["Expected `float`, got `null`", "$.annotations[0].bbox[1]"]),
        ("text", ["Expected `array`, got `str`", "$.annotations[0].bbox"]),
        ("three numbers", ["Expected `array` of length 4", "$.annotations[0].bbox"]),
        ("no width", ["missing required field `width`", "$.images[0]"]),
        ("zero width", [">= 1", "$.images[0].width"]),
        ("huge id", ["$.annotations[0].image_id"]),
        ("no images", ["no images in it"]),
        ("no categories", ["no classes in it"]),
        ("truncated", ["not valid JSON", "truncated"]),
        ("not json", ["not valid JSON", "<annotation/>"]),
    ],
)
def test_each_mistake_is_one_line_that_names_the_file_and_entry(write_coco, coco_dict, tmp_path, one_line, case, parts):
    path = write_coco(_broken(coco_dict, case))
    with pytest.raises(UserError) as caught:
        load_coco(path, tmp_path)
    one_line(caught, str(path), *parts)


def test_missing_file(tmp_path, one_line):
    with pytest.raises(UserError) as caught:
        load_coco(tmp_path / "absent.json", tmp_path)
    one_line(caught, "absent.json", "No such file", "check the path")


def test_save_and_load_again(write_coco, coco_dict, tmp_path):
    annotations = load_coco(write_coco(coco_dict), tmp_path)
    path = tmp_path / "new" / "copy.json"
    save_coco(annotations, path)
    again = load_coco(path, tmp_path)
    assert again.categories == annotations.categories
    assert list(again.file_names) == list(annotations.file_names)
    for field in ("image_ids", "image_sizes", "first", "boxes", "areas", "labels", "ignore", "ids"):
        assert getattr(again, field).equal(getattr(annotations, field)), field
    assert [file.name for file in path.parent.iterdir()] == ["copy.json"]


@pytest.mark.parametrize(
    ("name", "images", "boxes", "classes"),
    [
        ("instances_train", 1392, 13392, 80),
        ("instances_val", 464, 4619, 80),
        ("person_train", 1392, 5685, 1),
        ("person_val", 464, 1928, 1),
    ],
)
def test_coco_person(shared, name, images, boxes, classes):
    folder = shared / "coco_person"
    annotations = load_coco(folder / f"{name}.json", folder / "images")
    assert (len(annotations), len(annotations.boxes), len(annotations.categories)) == (images, boxes, classes)
    check_images(annotations)


def test_real_coco_holds_what_pycocotools_reads(shared, tmp_path):
    from pycocotools.coco import COCO

    path = shared / "coco_eval/instances_val2014_100.json"
    annotations, reference = load_coco(path, tmp_path), COCO(path)
    assert int(annotations.ignore.sum()) == 9
    for i, image_id in enumerate(annotations.image_ids.tolist()):
        rows = annotations.rows(i)
        expected = reference.loadAnns(reference.getAnnIds(imgIds=[image_id]))
        assert annotations.ids[rows].tolist() == [box["id"] for box in expected]
        assert annotations.boxes[rows].tolist() == [box["bbox"] for box in expected]
        assert annotations.areas[rows].tolist() == [box["area"] for box in expected]
        ids = [annotations.categories[label - 1].id for label in annotations.labels[rows].tolist()]
        assert ids == [box["category_id"] for box in expected]
