import dataclasses

import pytest

from cascade_rcnn.config import Category
from cascade_rcnn.data.coco import load_coco, save_coco
from cascade_rcnn.data.load import check_same_categories, load_annotations
from cascade_rcnn.errors import UserError

XML = (
    "<annotation><size><width>40</width><height>30</height></size><object><name>cat</name><bndbox><xmin>1</xmin>"
    "<ymin>2</ymin><xmax>11</xmax><ymax>22</ymax></bndbox></object></annotation>"
)


def test_coco_images_lie_beside_or_in_images_or_where_told(write_coco, coco_dict, tmp_path, write_image):
    path = write_coco(coco_dict)
    assert load_annotations(path).images_dir == tmp_path
    write_image(tmp_path / "images/b.png", 4, 4)
    assert load_annotations(str(path)).images_dir == tmp_path / "images"
    write_image(tmp_path / "b.png", 4, 4)
    assert load_annotations(path).images_dir == tmp_path
    (tmp_path / "else").mkdir()
    assert load_annotations(path, tmp_path / "else").images_dir == tmp_path / "else"


def test_voc_by_folder_or_by_the_split_file(tmp_path, monkeypatch):
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "Annotations/a.xml").write_text(XML)
    (tmp_path / "ImageSets/Main").mkdir(parents=True)
    split = tmp_path / "ImageSets/Main/train.txt"
    split.write_text("a\n")
    monkeypatch.chdir(split.parent)
    for annotations in (
        load_annotations(tmp_path, split="train"),
        load_annotations(split),
        load_annotations("train.txt"),
    ):
        assert annotations.boxes.tolist() == [[1, 2, 10, 20]]
        assert annotations.images_dir == tmp_path / "JPEGImages"
    (tmp_path / "else").mkdir()
    assert load_annotations(split, tmp_path / "else").images_dir == tmp_path / "else"


def test_yolo_by_folder_or_yaml(tmp_path, write_image):
    write_image(tmp_path / "images/a.png", 40, 80)
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/a.txt").write_text("0 0.5 0.5 0.25 0.125")
    (tmp_path / "data.yaml").write_text("val: images\nnames: [cat]")
    for path in (tmp_path, tmp_path / "data.yaml"):
        assert load_annotations(path, split="val").boxes.tolist() == [[15, 35, 10, 10]]


def test_voc_saved_as_coco_is_the_same(shared, tmp_path):
    voc = load_annotations(shared / "bccd/ImageSets/Main/val.txt")
    save_coco(voc, tmp_path / "val.json")
    coco = load_annotations(tmp_path / "val.json", voc.images_dir)
    assert coco.categories == voc.categories
    assert coco.boxes.equal(voc.boxes)
    assert coco.labels.equal(voc.labels)
    assert list(coco.file_names) == list(voc.file_names)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("absent.json",), "no such file or folder"),
        (("boxes.json", None, "train"), "leave out the split 'train'"),
        (("boxes.json", "absent"), "no such folder"),
        (("empty",), "COCO .json file, a PASCAL VOC folder with Annotations/"),
        (("notes.txt",), "not one of the three known forms"),
        (("voc/ImageSets/Main/train.txt", None, "val"), "this file is the split 'train'"),
        (("data.yaml", "empty", "train"), "names its own image folders"),
    ],
)
def test_each_mistake_is_one_line(write_coco, coco_dict, tmp_path, monkeypatch, one_line, arguments, part):
    monkeypatch.chdir(tmp_path)
    write_coco(coco_dict)
    (tmp_path / "empty").mkdir()
    (tmp_path / "voc/ImageSets/Main").mkdir(parents=True)
    for name in ("notes.txt", "voc/ImageSets/Main/train.txt", "data.yaml"):
        (tmp_path / name).write_text("a")
    with pytest.raises(UserError) as caught:
        load_annotations(*arguments)
    one_line(caught, part)


def test_categories_must_agree(write_coco, coco_dict, tmp_path, one_line):
    train = dataclasses.replace(load_coco(write_coco(coco_dict), tmp_path), source="train.json")
    val = dataclasses.replace(train, source="val.json")
    check_same_categories(train, val)
    val = dataclasses.replace(val, categories=(Category(id=3, name="dog"), Category(id=7, name="Cat")))
    with pytest.raises(UserError) as caught:
        check_same_categories(train, val)
    one_line(caught, "only train.json has 7 'cat'", "only val.json has 7 'Cat'")
    with pytest.raises(UserError) as caught:
        check_same_categories(train, dataclasses.replace(val, categories=train.categories[:1]))
    one_line(caught, "only train.json has 7 'cat'")
    assert "only val.json" not in str(caught.value)
