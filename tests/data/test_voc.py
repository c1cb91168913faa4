import re
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from cascade_rcnn.data.check import check_images
from cascade_rcnn.data.load import load_annotations
from cascade_rcnn.data.voc import load_voc, voc_splits
from cascade_rcnn.errors import UserError


def _object(name: str, corners: str, extra: str = "") -> str:
    values = zip(("xmin", "ymin", "xmax", "ymax"), corners.split(), strict=True)
    box = "".join(f"<{key}>{value}</{key}>" for key, value in values)
    return f"<object><name>{name}</name>{extra}<bndbox>{box}</bndbox></object>"


def _write(root: Path, stem: str, *objects: str, size: tuple[int, int] | None = (40, 30), file_name: str = "x") -> None:
    (root / "Annotations").mkdir(parents=True, exist_ok=True)
    text = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>" if size else ""
    text = f"<annotation><filename>{file_name}</filename>{text}{''.join(objects)}</annotation>"
    (root / "Annotations" / f"{stem}.xml").write_text(text)


def _split(root: Path, name: str, *stems: str) -> None:
    (root / "ImageSets/Main").mkdir(parents=True, exist_ok=True)
    (root / f"ImageSets/Main/{name}.txt").write_text("\n".join(stems) + "\n")


@pytest.fixture
def root(tmp_path, write_image) -> Path:
    part = "<part><name>head</name><bndbox><xmin>9</xmin><ymin>9</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></part>"
    _write(tmp_path, "b", _object("dog", "1 2 11 22"), _object("cat", "0.5 0 40 30", "<difficult>1</difficult>" + part))
    _write(tmp_path, "a", _object("zebra", "3 4 5 6"), file_name="a.jpg")
    _write(tmp_path, "c", size=(20, 50))
    for stem, suffix in (("a", "jpg"), ("b", "png"), ("c", "png")):
        write_image(tmp_path / f"JPEGImages/{stem}.{suffix}", *((20, 50) if stem == "c" else (40, 30)))
    _split(tmp_path, "train", "b", "c")
    _split(tmp_path, "val", "a")
    return tmp_path


def test_hand_made_folder(root):
    annotations = load_voc(root, "train")
    assert [(c.id, c.name) for c in annotations.categories] == [(1, "cat"), (2, "dog"), (3, "zebra")]
    assert list(annotations.file_names) == ["b.png", "c.png"]  # found by the XML file's stem; <filename> says x
    assert annotations.image_sizes.tolist() == [[30, 40], [50, 20]]
    assert annotations.first.tolist() == [0, 2, 2]
    assert annotations.boxes.tolist() == [[1, 2, 10, 20], [0.5, 0, 39.5, 30]]  # the corners as written
    assert annotations.areas.tolist() == [200, 1185]
    assert annotations.labels.tolist() == [2, 1]
    assert annotations.ignore.tolist() == [False, True]
    check_images(annotations)


@pytest.mark.parametrize(
    ("text", "difficult"),
    [("1", True), ("True", True), (" yes ", True), ("0", False), ("false", False), ("No", False), ("", False)],
)
def test_ways_to_write_that_an_object_is_difficult(root, text, difficult):
    _write(root, "a", _object("cat", "1 2 3 4", f"<difficult>{text}</difficult>"))
    assert load_voc(root, "val").ignore.tolist() == [difficult]


@pytest.mark.parametrize("change", [str.upper, lambda tag: tag.replace("<annotation>", '<annotation xmlns="urn:voc">')])
def test_tags_may_be_in_capitals_or_a_namespace(root, change):
    expected = load_voc(root, "val")
    path = root / "Annotations/a.xml"
    path.write_text(re.sub("<.*?>", lambda tag: change(tag[0]), path.read_text()))
    found = load_voc(root, "val")
    assert found.categories == expected.categories
    assert found.boxes.tolist() == expected.boxes.tolist() == [[3, 4, 2, 2]]


def test_lists_that_are_not_in_main(root):
    (root / "ImageSets/Main").rename(root / "ImageSets/lists")
    assert voc_splits(root) == []
    (root / "ImageSets/lists/train.txt").rename(root / "ImageSets/train.txt")
    (root / "ImageSets/lists/val.txt").rename(root / "ImageSets/val.txt")
    assert voc_splits(root) == ["train", "val"]
    for found in (load_voc(root, "train"), load_annotations(root / "ImageSets/train.txt")):
        assert list(found.file_names) == ["b.png", "c.png"]


def test_splits_have_the_same_classes(root):
    assert load_voc(root, "val").categories == load_voc(root, "train").categories
    assert load_voc(root, "val").labels.tolist() == [3]


def test_given_classes_fix_the_order(root):
    annotations = load_voc(root, "train", classes=["dog", "cat"])
    assert [c.name for c in annotations.categories] == ["dog", "cat"]
    assert annotations.labels.tolist() == [1, 2]


def test_a_folder_without_splits_is_one(root):
    for path in (root / "ImageSets/Main").iterdir():
        path.unlink()
    assert list(load_voc(root).file_names) == ["a.jpg", "b.png", "c.png"]


@pytest.mark.parametrize("size", [None, (0, 0)])
def test_missing_size_comes_from_the_image(root, size):
    _write(root, "a", _object("cat", "3 4 5 6"), size=size)
    annotations = load_voc(root, "val")
    assert annotations.image_sizes.tolist() == [[30, 40]]
    assert any("no image size in 1 xml file; it is read from the image" in note for note in annotations.notes)


def test_without_images_the_file_name_is_taken(root):
    for path in (root / "JPEGImages").iterdir():
        path.unlink()
    assert list(load_voc(root, "val").file_names) == ["a.jpg"]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("<annotation>", ["cannot parse", "no element found"]),
        ('<!DOCTYPE x [<!ENTITY e "e">]><annotation>&e;</annotation>', ["cannot parse"]),
        (f"<annotation>{_object('', '1 2 3 4')}</annotation>", ["object 0 has no name"]),
        (f"<annotation>{_object('cat', '1 2 x 4')}</annotation>", ["object 0, xmax is 'x'"]),
        (f"<annotation>{_object('cat', '1 nan 3 4')}</annotation>", ["object 0, ymin is 'nan'"]),
        ("<annotation><size><width>inf</width></size></annotation>", ["size is 'inf'"]),
        ("<annotation><object><name>cat</name></object></annotation>", ["object 0, cat, has no bndbox; give it one"]),
        (
            "<annotation><object><name>cat</name><polygon><x1>1</x1></polygon></object></annotation>",
            ["object 0, cat, has no bndbox, but a <polygon>; give it one"],
        ),
        (
            f"<annotation>{_object('cat', '1 2 3 4', '<bndbox></bndbox>')}</annotation>",
            ["object 0, cat, has 2 bndbox; give it one"],
        ),
        (f"<annotation><objects>{_object('cat', '1 2 3 4')}</objects></annotation>", ["a bndbox is in no <object>"]),
        ("<annotation><item><bndbox/></item></annotation>", ["a bndbox is in no <object>"]),
        ("<annotation><size><width>wide</width></size></annotation>", ["size is 'wide'"]),
        ("<annotation><size><width>1e300</width></size></annotation>", ["size is 1e+300", "in pixels"]),
        ('<?xml version="1.0" encoding="klingon"?><annotation/>', ["cannot parse"]),
        ("<PAMDataset/>", ["not a PASCAL VOC annotation (its root is <PAMDataset>)"]),
    ],
)
def test_each_bad_xml_is_one_line_that_names_it(root, one_line, text, parts):
    (root / "Annotations/a.xml").write_text(text)
    with pytest.raises(UserError) as caught:
        load_voc(root, "train")
    one_line(caught, "a.xml", *parts)


@pytest.mark.parametrize("declaration", ["", '<?xml version="1.0" encoding="UTF-8"?>'])
def test_an_encoding_that_is_not_declared_is_described_as_such(root, one_line, declaration):
    text = f"{declaration}<annotation>{_object('Müll', '1 2 3 4')}</annotation>"
    (root / "Annotations/a.xml").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError) as caught:
        load_voc(root, "train")
    one_line(caught, "a.xml", "not UTF-8 text", "<name>M�ll</name>", "save it as UTF-8")


def test_wrong_splits_and_classes(root, one_line):
    with pytest.raises(UserError) as caught:
        load_voc(root, "trainval")
    one_line(caught, "no split 'trainval'", "train, val")
    with pytest.raises(UserError) as caught:
        load_voc(root)
    one_line(caught, "has the splits train, val; choose one")
    with pytest.raises(UserError) as caught:
        load_voc(root, "train", classes=["dog"])
    one_line(caught, "b.xml", "class 'cat' is not among dog")
    _split(root, "train", "b", "absent")
    with pytest.raises(UserError) as caught:
        load_voc(root, "train")
    one_line(caught, "train.txt: 1 of 2 images have no xml file", "first: absent")


def _flat(folder: Path, stem: str, write_image, *objects: str) -> None:
    _write(folder, stem, *objects, file_name=rf"C:\\photos\\{stem}.jpg")
    (folder / f"Annotations/{stem}.xml").rename(folder / f"{stem}.xml")
    (folder / "Annotations").rmdir()
    write_image(folder / f"{stem}.jpg", 40, 30)


def test_xml_files_beside_their_images(tmp_path, write_image):
    _flat(tmp_path, "a", write_image, _object("cat", "1 2 11 22"))
    for name in ("._a.xml", "a.tif.aux.xml"):
        (tmp_path / name).write_text("<PAMDataset/>")
    write_image(tmp_path / "unlabelled.jpg", 40, 30)
    annotations = load_voc(tmp_path)
    assert annotations.path(0) == tmp_path / "a.jpg"
    assert annotations.boxes.tolist() == [[1, 2, 10, 20]]
    assert "skipped 1 image without an xml file (first" in annotations.notes[0]
    check_images(annotations)


def test_a_folder_for_each_split(tmp_path, write_image):
    _flat(tmp_path / "train", "a", write_image, _object("cat", "1 2 11 22"))
    _flat(tmp_path / "valid", "a", write_image, _object("dog", "5 5 6 6"))
    assert voc_splits(tmp_path) == ["train", "valid"]
    annotations = load_voc(tmp_path, "val")
    assert [c.name for c in annotations.categories] == ["cat", "dog"]
    assert annotations.path(0) == tmp_path / "valid/a.jpg"
    assert annotations.boxes.tolist() == [[5, 5, 1, 1]]


def test_xml_files_in_folders_of_their_own(root, write_image):
    (root / "Annotations/sub").mkdir()
    (root / "Annotations/b.xml").rename(root / "Annotations/sub/b.xml")
    _split(root, "train", "sub/b", "c.png")
    assert list(load_voc(root, "train").file_names) == ["b.png", "c.png"]


def test_images_found_elsewhere_are_mentioned_and_never_those_of_another_folder(tmp_path, write_image, one_line):
    for name in ("A/1", "A/2"):
        (tmp_path / "Annotations/A").mkdir(parents=True, exist_ok=True)
        _write(tmp_path, name, _object("cat", "1 2 3 4"), file_name=f"{name[-1]}.jpg")
    for name in ("1.jpg", "B/2.jpg"):
        write_image(tmp_path / "JPEGImages" / name, 40, 30)
    annotations = load_voc(tmp_path)
    images = tmp_path / "JPEGImages"
    assert [annotations.path(i) for i in range(2)] == [images / "1.jpg", images / "A/2.jpg"]
    note = f"1 of 2 images were found by the end of their path (first: that of A/1.xml is {images / '1.jpg'})"
    assert annotations.notes == (f"{tmp_path}: {note}", *annotations.notes[1:])
    with pytest.raises(UserError) as caught:
        check_images(annotations)
    one_line(caught, "1 of 2 images cannot be used: 1 is missing", "A/2.jpg")
    _write(tmp_path, "3", _object("cat", "1 2 3 4"), file_name="3.jpg")
    write_image(images / "train/3.jpg", 40, 30)
    for split, name in (("train", "train/3.jpg"), ("val", "3.jpg")):
        _split(tmp_path, split, "3")
        assert load_voc(tmp_path, split).path(0) == images / name


@pytest.mark.parametrize(
    ("xml", "image"),
    [
        ("annotations/{}.xml", "images/{}.png"),
        ("ANNOTATIONS/{}.xml", "IMAGES/{}.png"),
        ("Annotations/{}.xml", "Images/{}.png"),
        ("xmls/{}.xml", "imgs/{}.png"),
        ("annotations/xmls/{}.xml", "images/{}.png"),
        ("all/annotations/{}.xml", "all/images/{}.png"),
    ],
)
def test_folders_of_other_names(tmp_path, write_image, xml, image):
    for stem in ("a", "b"):
        (tmp_path / xml.format(stem)).parent.mkdir(parents=True, exist_ok=True)
        text = f"<annotation><filename>x</filename>{_object('cat', '1 2 3 4')}</annotation>"
        (tmp_path / xml.format(stem)).write_text(text)
        write_image(tmp_path / image.format(stem), 40, 30)
    annotations = check_images(load_voc(tmp_path))
    assert [annotations.path(i) for i in range(2)] == [tmp_path / image.format(stem) for stem in ("a", "b")]


@pytest.mark.parametrize(
    ("xml", "image"),
    [
        ("{}/annotations/1.xml", "{}/images/1.png"),
        ("{}/annotations/1.xml", "{}/images/scratch/1.png"),
        ("annotations/{}/1.xml", "images/{}/1.png"),
    ],
)
def test_folders_of_other_names_for_each_split(tmp_path, write_image, xml, image):
    for split, width in (("train", 40), ("validation", 50)):
        (tmp_path / xml.format(split)).parent.mkdir(parents=True)
        (tmp_path / xml.format(split)).write_text(f"<annotation>{_object('cat', '1 2 3 4')}</annotation>")
        write_image(tmp_path / image.format(split), width, 30)
    assert voc_splits(tmp_path) == ["train", "validation"]
    for split, width in (("train", 40), ("validation", 50)):
        annotations = load_voc(tmp_path, split)
        assert annotations.path(0) == tmp_path / image.format(split)
        assert annotations.image_sizes.tolist() == [[30, width]]


def test_an_image_is_not_guessed_from_its_name_alone(tmp_path, write_image, one_line):
    for name in ("cam1/annotations/1", "cam2/annotations/2"):
        (tmp_path / name).parent.mkdir(parents=True)
        _write(tmp_path, "x", _object("cat", "1 2 3 4"))
        (tmp_path / "Annotations/x.xml").rename(tmp_path / f"{name}.xml")
    (tmp_path / "Annotations").rmdir()
    for name in ("cam1/images/2", "cam2/images/a/2", "cam2/images/b/2", "cam2/images/1"):
        write_image(tmp_path / f"{name}.png", 40, 30)
    with pytest.raises(UserError) as caught:
        check_images(load_voc(tmp_path))
    one_line(caught, "2 of 2 images cannot be used: 2 are missing")


def test_the_folder_above_a_dataset_is_not_one(tmp_path, one_line):
    inner = tmp_path / "VOCdevkit/VOC2012"
    _write(inner, "a", _object("cat", "1 2 3 4"))
    _split(inner, "train", "a")
    for above in (tmp_path, tmp_path / "VOCdevkit"):
        with pytest.raises(UserError) as caught:
            load_voc(above)
        one_line(caught, f"{above}: the dataset is in a folder below it; give {inner}")


def test_invalid_files_are_counted(tmp_path, one_line):
    for name, corner in (("a", "NaN"), ("b", "1"), ("c", "left")):
        _write(tmp_path, name, _object("cat", f"{corner} 2 3 4"))
    for classes in (None, ["cat"]):
        with pytest.raises(UserError) as caught:
            load_voc(tmp_path, classes=classes)
        one_line(caught, "a.xml: object 0, xmin is 'NaN'; write a number (2 of 3 xml files are invalid)")
    (tmp_path / "Annotations/c.xml").unlink()
    with pytest.raises(UserError, match=r"a\.xml: object 0, xmin is 'NaN'; write a number$"):
        load_voc(tmp_path)


def test_images_in_folders_of_splits_are_one_set_if_their_files_are(tmp_path, write_image):
    for split, name in (("train", "a"), ("valid", "b")):
        _write(tmp_path, name, _object("cat", "1 2 3 4"))
        write_image(tmp_path / "images" / split / f"{name}.jpg", 40, 30)
    annotations = load_voc(tmp_path)
    assert list(annotations.file_names) == ["train/a.jpg", "valid/b.jpg"]
    assert any("in folders of splits (train, valid), but all are read as one" in note for note in annotations.notes)

    _split(tmp_path, "train", "a")
    assert not any("folders of splits" in note for note in load_voc(tmp_path).notes)


def test_of_two_images_of_a_name_the_file_says_which(root, write_image):
    write_image(root / "JPEGImages/a.png", 40, 30)
    assert list(load_voc(root, "val").file_names) == ["a.jpg"]
    _write(root, "a", _object("zebra", "3 4 5 6"), file_name="x.jpg")
    with pytest.raises(UserError, match="a: could be"):
        load_voc(root, "val")


def test_rotated_boxes_are_enclosed_by_upright_ones(root):
    angle = "<attributes><attribute><name>{}</name><value>{}</value></attribute></attributes>"
    _write(
        root,
        "a",
        _object("cat", "10 10 30 20", angle.format("rotation", 90.0)),
        _object("cat", "10 10 30 20", angle.format("rotation", 0.0)),
        _object("cat", "10 10 30 20", angle.format("weight", 90.0)),
    )
    annotations = load_voc(root, "val")
    assert annotations.boxes.tolist() == [[15, 5, 10, 20], [10, 10, 20, 10], [10, 10, 20, 10]]
    assert any("1 of 3 boxes are rotated" in note for note in annotations.notes)


def test_encodings_of_several_bytes_per_character(root):
    for encoding in ("gb2312", "GBK", "Shift_JIS", "utf-8", "utf-16"):
        text = f'<?xml version="1.0" encoding="{encoding}"?><annotation>{_object("人", "1 2 3 4")}</annotation>'
        (root / "Annotations/a.xml").write_bytes(text.encode(encoding))
        assert "人" in load_voc(root, "val").class_names


def test_lists_of_one_class(root):
    (root / "ImageSets/Main/dog_train.txt").write_text("b  1\na -1\nc  0\n")
    annotations = load_voc(root, "dog_train")
    assert list(annotations.file_names) == ["b.png", "c.png"]
    assert any("skipped 1 of 3 images, marked -1" in note for note in annotations.notes)
    assert voc_splits(root) == ["train", "val", "dog_train"]


def test_a_name_that_ends_like_a_flag_is_a_name_where_such_an_image_exists(root):
    for stem in ("scan", "scan 1", "scan 0", "scan -1"):
        _write(root, stem, _object("cat", "1 2 3 4"), file_name=f"{stem}.jpg")
    _split(root, "train", "scan", "scan 1", "scan 0", "scan -1")
    annotations = load_voc(root, "train")
    assert list(annotations.file_names) == ["scan.jpg", "scan 1.jpg", "scan 0.jpg", "scan -1.jpg"]
    assert annotations.notes == ()
    _split(root, "scan_train", "scan 1 1", "scan 0 -1", "b 1")
    annotations = load_voc(root, "scan_train")
    assert list(annotations.file_names) == ["scan 1.jpg", "b.png"]


def test_byte_order_marks_are_read_over(root):
    for path in (root / "ImageSets/Main/train.txt", root / "Annotations/b.xml"):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert list(load_voc(root, "train").file_names) == ["b.png", "c.png"]


def test_bccd(shared):
    splits = {split: load_voc(shared / "bccd", split) for split in ("train", "val", "test")}
    assert {split: len(annotations) for split, annotations in splits.items()} == {"train": 205, "val": 87, "test": 72}
    assert sum(len(annotations.boxes) for annotations in splits.values()) == 4888
    notes = [note for annotations in splits.values() for note in annotations.notes]
    assert len(notes) == 2  # two boxes are empty
    assert all("1 of " in note and "have no size" in note for note in notes)
    for annotations in splits.values():
        assert [c.name for c in annotations.categories] == ["Platelets", "RBC", "WBC"]
        check_images(annotations)


def test_masks_are_those_of_segmentation_object(root, one_line):
    numbers = np.zeros((30, 40), np.uint8)
    numbers[2:22, 1:11], numbers[5:9, 20:40], numbers[0] = 1, 2, 255
    folder = root / "SegmentationObject"
    folder.mkdir()
    PIL.Image.fromarray(numbers).convert("P").save(folder / "b.png")
    assert load_voc(root, "train").segmentations is None
    found = load_voc(root, "train", masks=True)
    assert found.segmentations is not None
    rows = found.rows(0)
    dense = found.segmentations.masks(range(rows.start, rows.stop), 30, 40).dense().numpy()
    np.testing.assert_array_equal(dense, [numbers == 1, numbers == 2])  # in the order of the XML file
    assert load_voc(root, "val", masks=True).segmentations is None

    PIL.Image.fromarray(numbers[:20]).save(folder / "b.png")
    with pytest.raises(UserError) as caught:
        load_voc(root, "train", masks=True)
    one_line(caught, "b.png: the image is 40 x 20 when upright, but annotated as 40 x 30")
    PIL.Image.new("RGB", (40, 30)).save(folder / "b.png")
    with pytest.raises(UserError) as caught:
        load_voc(root, "train", masks=True)
    one_line(caught, "b.png: pixel values are not object numbers (mode RGB)")
