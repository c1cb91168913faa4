import json
import unicodedata

import pytest

from cascade_rcnn.data.check import check_images
from cascade_rcnn.data.coco import load_coco, save_coco
from cascade_rcnn.data.load import check_same_categories
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
    crowds = "1 of 3 boxes are crowds or difficult; they are ignored in training and evaluation"
    assert annotations.notes == (f"{tmp_path / 'boxes.json'}: {crowds}",)


def test_optional_fields_may_be_null_or_boolean(write_coco, coco_dict, tmp_path):
    coco_dict["annotations"][0] |= {"area": None, "iscrowd": True}
    coco_dict["annotations"][1] |= {"iscrowd": None}
    annotations = load_coco(write_coco(coco_dict), tmp_path)
    assert annotations.areas.tolist() == [200, 12, 56]
    assert annotations.ignore.tolist() == [False, True, False]


@pytest.mark.parametrize("area", [-5, 1e11])
def test_an_area_that_no_object_in_the_box_can_have_is_that_of_the_box(write_coco, coco_dict, tmp_path, area):
    coco_dict["annotations"][1] |= {"area": area}
    annotations = load_coco(write_coco(coco_dict), tmp_path)
    assert annotations.areas.tolist() == [200, 9.5, 56]
    assert annotations.notes[-1].endswith(
        "1 of 3 boxes have an impossible area; that of the box or mask is used "
        f"(first: {area:g} of [0.25, 0, 10, 20] in b.png)"
    )


@pytest.mark.parametrize("area", [0, 5000])
def test_an_area_that_evaluation_can_use_is_kept(write_coco, coco_dict, tmp_path, area):
    coco_dict["annotations"][0] |= {"area": area}
    annotations = load_coco(write_coco(coco_dict), tmp_path)
    assert annotations.areas.tolist() == [200, area, 56]
    assert annotations.notes[-1].endswith(
        "1 of 3 boxes have an `area` that does not fit, but decides whether they count as small, medium or large "
        f"(first: {area} of [1, 2, 3, 4] in sub/a.png)"
    )


def test_the_area_of_a_thin_mask_or_of_rounded_corners_fits(write_coco, coco_dict, tmp_path):
    for row, area in zip(coco_dict["annotations"], (0.1, 231, 0.6), strict=True):
        row |= {"area": area}
    assert not any("`area`" in note for note in load_coco(write_coco(coco_dict), tmp_path).notes)


def test_numbers_as_spreadsheets_and_forms_write_them(write_coco, coco_dict, tmp_path):
    expected = load_coco(write_coco(coco_dict), tmp_path)
    coco_dict["images"][0] |= {"id": 20.0, "width": "40", "height": 30.0}
    coco_dict["images"][1] |= {"id": "10"}
    coco_dict["annotations"][0] |= {"image_id": "10", "category_id": 7.0, "iscrowd": "1", "bbox": ["1", 2, 3, "4.0"]}
    coco_dict["categories"][0] |= {"name": 5}
    found = load_coco(write_coco(coco_dict), tmp_path)
    for field in ("image_ids", "image_sizes", "boxes", "labels", "ignore"):
        assert getattr(found, field).equal(getattr(expected, field)), field
    assert sorted(found.class_names) == sorted(["5", coco_dict["categories"][1]["name"]])


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_byte_order_marks_are_read_over(write_coco, coco_dict, tmp_path, encoding):
    path = write_coco(coco_dict)
    path.write_text(path.read_text(), encoding=encoding)
    assert load_coco(path, tmp_path).image_ids.tolist() == [20, 10]


def test_sizes_that_are_missing_come_from_the_upright_images(write_coco, coco_dict, tmp_path, write_image, one_line):
    del coco_dict["images"][0]["width"]
    coco_dict["images"][1] |= {"width": 0, "height": 0}
    write_image(tmp_path / "b.png", 40, 30)
    with pytest.raises(UserError) as caught:
        load_coco(write_coco(coco_dict))
    one_line(caught, "boxes.json lacks image sizes, so images are read: 1 of 2 images cannot be used: 1 is missing")
    left = load_coco(write_coco(coco_dict), bad_images="skip")
    assert (left.image_ids.tolist(), left.boxes.tolist()) == ([20], [[0.25, 0, 10, 20]])
    write_image(tmp_path / "sub/a.png", 16, 24)
    assert load_coco(write_coco(coco_dict)).image_sizes.tolist() == [[30, 40], [24, 16]]


def test_roboflows_grouping_class_is_left_out(write_coco, coco_dict, tmp_path):
    coco_dict["categories"] = [
        {"id": 0, "name": "pets", "supercategory": "none"},
        {"id": 3, "name": "dog", "supercategory": "pets"},
        {"id": 7, "name": "cat", "supercategory": "pets"},
    ]
    found = load_coco(write_coco(coco_dict), tmp_path)
    assert [c.name for c in found.categories] == ["dog", "cat"]
    assert found.labels.tolist() == [1, 2, 1]
    assert "class 'pets' (id 0) only groups the others" in found.notes[0]
    assert [c.name for c in found.unused] == ["pets"]
    coco_dict["annotations"][0]["category_id"] = 0  # used by a box
    assert len(load_coco(write_coco(coco_dict), tmp_path).categories) == 3
    coco_dict["annotations"][0]["category_id"] = 7
    coco_dict["categories"][1]["supercategory"] = "animal"  # so that the supercategory does not cover all classes
    assert len(load_coco(write_coco(coco_dict), tmp_path).categories) == 3


def test_splits_agree_about_roboflows_grouping_class(write_coco, coco_dict, tmp_path, one_line):
    coco_dict["categories"] = [
        {"id": 0, "name": "pet", "supercategory": "none"},
        {"id": 3, "name": "pet", "supercategory": "pet"},  # as in datasets named after their only class
        {"id": 7, "name": "cat", "supercategory": "pet"},
    ]
    unused = load_coco(write_coco(coco_dict), tmp_path)
    names = [c.name for c in unused.categories]
    assert names == ["pet", "cat"]
    assert load_coco(write_coco(coco_dict), tmp_path, classes=names).categories == unused.categories
    boxes = coco_dict["annotations"]
    more = coco_dict | {"annotations": [*boxes, boxes[0] | {"id": 8, "category_id": 0}]}
    used = load_coco(write_coco(more), tmp_path)
    names = [c.name for c in used.categories]
    assert names == ["pet", "pet", "cat"]
    val = load_coco(write_coco(coco_dict), tmp_path, classes=names)  # no box, but a class of the training set
    check_same_categories(used, val)
    assert val.labels.tolist() == [2, 3, 2]
    with pytest.raises(UserError) as caught:
        check_same_categories(unused, used)
    one_line(caught, "has boxes of 0 'pet', which groups the others; load both with the same classes")
    restored = unused.declaring(used.categories)
    check_same_categories(restored, used)
    assert (restored.labels.tolist(), restored.labels.dtype) == ([2, 3, 2], unused.labels.dtype)
    assert any("only groups the others" in note for note in unused.notes)
    assert not any("only groups the others" in note for note in restored.notes)
    assert unused.declaring(unused.categories) is unused


def test_classes_of_one_name_are_mentioned(write_coco, coco_dict, tmp_path):
    coco_dict["categories"][0]["name"] = "dog"
    assert "two classes are named 'dog'" in load_coco(write_coco(coco_dict), tmp_path).notes[0]


def test_a_test_set_has_no_annotations(write_coco, coco_dict, tmp_path):
    del coco_dict["annotations"]
    found = load_coco(write_coco(coco_dict), tmp_path)
    assert (found.image_ids.tolist(), len(found.boxes)) == ([20, 10], 0)


@pytest.mark.parametrize(
    ("json_name", "image"),
    [
        ("a.json", "b.png"),
        ("a.json", "images/b.png"),
        ("instances_default.json", "default/b.png"),
        ("annotations/instances_default.json", "images/default/b.png"),
        ("annotations/instances_train2017.json", "train2017/b.png"),
        ("annotations/instances_x.json", "images/b.png"),
        ("a.json", "images/deep/er/b.png"),
    ],
)
def test_images_lie_where_the_tools_put_them(tmp_path, coco_dict, write_image, json_name, image):
    write_image(tmp_path / image, 40, 30)
    (tmp_path / json_name).parent.mkdir(exist_ok=True)
    (tmp_path / json_name).write_text(json.dumps(coco_dict))
    assert load_coco(tmp_path / json_name).path(0) == tmp_path / image


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("/content/drive/images/b.png", ""),
        (r"C:\set\b.png", ""),
        ("b%2Epng", ""),
        (unicodedata.normalize("NFD", "ü/b.png"), unicodedata.normalize("NFC", "ü")),
    ],
)
def test_names_of_other_machines(write_coco, coco_dict, tmp_path, write_image, name, folder):
    write_image(tmp_path / "images" / folder / "b.png", 40, 30)
    write_image(tmp_path / "images/sub/a.png", 16, 24)
    coco_dict["images"][0]["file_name"] = name
    annotations = load_coco(write_coco(coco_dict))
    assert annotations.path(0).name == "b.png"
    assert "1 of 2 images were found by the end of their path" in annotations.notes[0]
    check_images(annotations)


@pytest.mark.parametrize("folders", [("val/", "train/"), ("images/val/", "images/train/"), (None, "train/")])
def test_a_missing_image_is_never_that_of_another_split(coco_dict, tmp_path, write_image, one_line, folders):
    ours, theirs = folders
    for name in (*([f"{ours}b.png"] if ours else []), f"{theirs}b.png", f"{theirs}a.png"):
        write_image(tmp_path / name, 40, 30)
    for image, name in zip(coco_dict["images"], ("b.png", "a.png"), strict=True):
        image |= {"file_name": name, "width": 40, "height": 30}
    (tmp_path / "val.json").write_text(json.dumps(coco_dict))
    missing = "1 is missing" if ours else "2 are missing"
    with pytest.raises(UserError) as caught:
        check_images(load_coco(tmp_path / "val.json"))
    one_line(caught, f"of 2 images cannot be used: {missing}")


def test_lvis_names_images_by_their_urls_and_annotates_some_classes(coco_dict, tmp_path, write_image):
    for image, name in zip(coco_dict["images"], ("train2017/1.png", "val2017/1.png"), strict=True):
        del image["file_name"]
        image |= {"coco_url": f"http://images.cocodataset.org/{name}", "neg_category_ids": [7]}
        write_image(tmp_path / "coco" / name, image["width"], image["height"])
    (tmp_path / "lvis_v1_val.json").write_text(json.dumps(coco_dict))  # its images are in both folders
    annotations = check_images(load_coco(tmp_path / "lvis_v1_val.json", tmp_path / "coco"))
    assert list(annotations.file_names) == ["train2017/1.png", "val2017/1.png"]
    assert any("annotated for some classes only" in note for note in annotations.notes)


def test_no_boxes(write_coco, coco_dict, tmp_path):
    annotations = load_coco(write_coco(coco_dict | {"annotations": []}), tmp_path)
    assert annotations.boxes.shape == (0, 4)
    assert annotations.first.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("change", "note"),
    [
        ("drop", "1 box without an id"),
        (5, "some boxes share an id"),
        ("0b9e-4c1d", "ids of boxes are not all numbers (first: '0b9e-4c1d')"),
        ("", "ids of boxes are not all numbers (first: '')"),
    ],
)
def test_unusable_box_ids_are_renumbered(write_coco, coco_dict, tmp_path, change, note):
    if change == "drop":
        del coco_dict["annotations"][1]["id"]
    else:
        coco_dict["annotations"][1]["id"] = change
    annotations = load_coco(write_coco(coco_dict), tmp_path)
    assert sorted(annotations.ids.tolist()) == [1, 2, 3]
    assert note in annotations.notes[0]


def _broken(coco: dict, case: str) -> object:
    first_image, first_box = coco["images"][0], coco["annotations"][0]
    match case:
        case "unknown image":
            coco["annotations"][2]["image_id"] = 99
        case "unknown category":
            coco["annotations"][1]["category_id"] = 99
        case "unknown category after one without a box":
            del coco["annotations"][0]["bbox"]
            coco["annotations"][1]["category_id"] = 99
        case "results list":
            return [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1], "score": 0.5}]
        case "labelme":
            return {"version": "5.0.1", "shapes": [], "imagePath": "a.jpg"}
        case "nameless image":
            first_image["file_name"] = ""
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
        case "negative width":
            first_image["width"] = -1
        case "huge id":
            first_box["image_id"] = 2**64
        case "no images":
            return coco | {"images": [], "annotations": []}
        case "no categories":
            return coco | {"categories": [], "annotations": []}
        case "nameless category":
            coco["categories"].append({"id": 12, "name": " "})
        case "truncated":
            return json.dumps(coco)[:-5]
        case "nested":
            return '{"info": ' + "[" * 100_000
        case "not json":
            return "<annotation/>"
    return coco


@pytest.mark.parametrize(
    ("case", "parts"),
    [
        ("unknown image", ["annotations[2] has image_id 99", "(1 box in total)"]),
        ("unknown category", ["annotations[1] has category_id 99", "add the category"]),
        ("unknown category after one without a box", ["annotations[1] has category_id 99"]),
        ("results list", ["not a COCO detection file", "Expected `object`, got `array`"]),
        ("labelme", ["labelme's own format is not read"]),
        ("nameless image", ["missing required field `file_name`", "$.images[0]"]),
        ("duplicate image", ["2 entries share the image id 20"]),
        ("duplicate category", ["2 entries share the category id 7"]),
        ("nan", ["not valid JSON", "[1, NaN, 3, 4]"]),
        ("null", ["Expected `float`, got `null`", "$.annotations[0].bbox[1]"]),
        ("text", ["Expected `array | null`, got `str`", "$.annotations[0].bbox"]),
        ("three numbers", ["annotations[0] has a bbox of 3 numbers", "give x, y, width, height"]),
        ("negative width", [">= 0", "$.images[0].width"]),
        ("huge id", ["$.annotations[0].image_id"]),
        ("no images", ["contains no images"]),
        ("no categories", ["contains no classes"]),
        ("nameless category", ["the class with id 12 has no name", "give it one"]),
        ("truncated", ["not valid JSON", "truncated"]),
        ("nested", ["nested too deeply"]),
        ("not json", ["not valid JSON", "<annotation/>"]),
    ],
)
def test_each_mistake_is_one_line_that_names_the_file_and_entry(write_coco, coco_dict, tmp_path, one_line, case, parts):
    path = write_coco(_broken(coco_dict, case))
    with pytest.raises(UserError) as caught:
        load_coco(path, tmp_path)
    one_line(caught, str(path), *parts)


def test_text_that_is_not_utf8_is_described_as_such(tmp_path, one_line):
    path = tmp_path / "boxes.json"
    for text, parts in (
        ('{"categories": [{"id": 1, "name": "Müll"}]}', ["not UTF-8 text", '"name": "M�ll"', "save it as UTF-8"]),
        ("PKü", ["not valid JSON"]),
    ):
        path.write_text(text, encoding="latin-1")
        with pytest.raises(UserError) as caught:
            load_coco(path)
        one_line(caught, str(path), *parts)


def test_missing_file(tmp_path, one_line):
    with pytest.raises(UserError) as caught:
        load_coco(tmp_path / "absent.json", tmp_path)
    one_line(caught, "absent.json", "no such file", "check the path")


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
