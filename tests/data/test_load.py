import dataclasses
import json
import os
from pathlib import Path

import pytest

from cascade_rcnn.config import Category
from cascade_rcnn.data.check import check_images
from cascade_rcnn.data.coco import load_coco, save_coco
from cascade_rcnn.data.load import check_same_categories, dataset_splits, load_annotations, training_splits
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
        (("boxes.json", None, "train"), "omit the split 'train'"),
        (("boxes.json", "absent"), "no such folder"),
        (("empty",), "COCO .json file (or a folder of them), a PASCAL VOC folder with Annotations/"),
        (("pipe.json",), "this is a pipe"),
        (("notes.txt",), "not one of the supported formats"),
        (("voc/ImageSets/Main/train.txt", None, "val"), "this file is the split 'train'"),
        (("data.yaml", "empty", "train"), "names its own image folders"),
    ],
)
def test_each_mistake_is_one_line(write_coco, coco_dict, tmp_path, monkeypatch, one_line, arguments, part):
    monkeypatch.chdir(tmp_path)
    write_coco(coco_dict)
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "pipe.json")
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


def _texts(folder: Path, texts: dict[str, str]) -> None:
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def _coco(file_name: str) -> str:
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 10, 20]}
    image = {"id": 1, "file_name": file_name, "width": 40, "height": 30}
    return json.dumps({"images": [image], "annotations": [box], "categories": [{"id": 1, "name": "cat"}]})


YOLO_ROW = "0 0.15 0.4 0.25 0.6666666666666666"  # x 1..11 of 40, y 2..22 of 30

# What tools export: the files, and where images lie. Each holds the box x 1, y 2, 10 x 20 of a cat.
EXPORTS = {
    "Roboflow COCO": ({"train/_annotations.coco.json": _coco("a.png")}, "train/a.png", "train"),
    "Roboflow VOC": ({"train/a.xml": XML}, "train/a.png", "train"),
    "Roboflow YOLO": (
        {"data.yaml": "train: ../train/images\nnames: ['cat']", "train/labels/a.txt": YOLO_ROW},
        "train/images/a.png",
        "train",
    ),
    "CVAT COCO": ({"annotations/instances_default.json": _coco("a.png")}, "images/default/a.png", "default"),
    "CVAT VOC": ({"Annotations/a.xml": XML, "ImageSets/Main/default.txt": "a\n"}, "JPEGImages/a.png", "default"),
    "CVAT YOLO": (
        {
            "obj.data": "train = data/train.txt\nnames = data/obj.names\n",
            "obj.names": "cat\n",
            "train.txt": "data/obj_train_data/a.png\n",
            "obj_train_data/a.txt": YOLO_ROW,
        },
        "obj_train_data/a.png",
        "train",
    ),
    "CVAT YOLO with a yaml": (
        {
            "data.yaml": "path: .\ntrain: train.txt\nnames:\n  0: cat\n",
            "train.txt": "data/images/train/a.png\n",
            "labels/train/a.txt": YOLO_ROW,
        },
        "images/train/a.png",
        "train",
    ),
    "Label Studio COCO": ({"result.json": _coco(r"images\\a.png")}, "images/a.png", "result"),
    "Label Studio VOC": ({"Annotations/a.xml": XML}, "images/a.png", None),
    "Label Studio YOLO": (
        {"classes.txt": "cat\n", "notes.json": '{"categories": []}', "labels/a.txt": YOLO_ROW},
        "images/a.png",
        "all",
    ),
    "labelImg": ({"a.xml": XML}, "a.png", None),
    "FiftyOne COCO": ({"train/labels.json": _coco("a.png")}, "train/data/a.png", "train"),
    "COCO": ({"annotations/instances_train2017.json": _coco("a.png")}, "train2017/a.png", "train2017"),
}


@pytest.mark.parametrize("tool", list(EXPORTS))
def test_folders_as_tools_write_them(tmp_path, write_image, tool):
    texts, image, split = EXPORTS[tool]
    _texts(tmp_path, texts)
    write_image(tmp_path / image, 40, 30)
    annotations = check_images(load_annotations(tmp_path))
    assert annotations.boxes[0].tolist() == pytest.approx([1, 2, 10, 20])
    assert [c.name for c in annotations.categories] == ["cat"]
    assert annotations.path(0) == tmp_path / image
    assert training_splits(tmp_path) == (split, None)
    assert dataset_splits(tmp_path) == ([] if split is None else [split])


@pytest.mark.parametrize("tool", ["Roboflow COCO", "Roboflow YOLO", "CVAT COCO", "Label Studio YOLO", "COCO"])
def test_the_folder_above_a_dataset_is_not_one(tmp_path, write_image, one_line, tool):
    """As an archive that is unpacked into a folder of its own name."""
    inner = tmp_path / "above" / "set" / "set"
    texts, image, _ = EXPORTS[tool]
    _texts(inner, texts)
    write_image(inner / image, 40, 30)
    for folder in (inner.parent, inner.parent.parent):
        with pytest.raises(UserError) as caught:
            load_annotations(folder)
        one_line(caught, f"{folder}: the dataset is in a folder below it; give {inner}")


LABEL = "0 0.5 0.5 0.2 0.2\n"
DIVIDED = {  # where the images and labels of a split are, below the folder of the dataset
    "xml files beside images": ("{split}", "{split}", ".xml", XML),
    "xml files in the folders of splits": ("{split}/images", "{split}/annotations", ".xml", XML),
    "folders of splits for images and xml files": ("images/{split}", "annotations/{split}", ".xml", XML),
    "labels beside images": ("{split}", "{split}", ".txt", LABEL),
    "labels and images in the folders of splits": ("{split}/images", "{split}/labels", ".txt", LABEL),
}


@pytest.mark.parametrize("above", ["archive", "archive/v1"])
@pytest.mark.parametrize("layout", list(DIVIDED))
def test_splits_below_a_folder_are_not_read_as_one(tmp_path, write_image, one_line, above, layout):
    images, labels, suffix, text = DIVIDED[layout]
    inner = tmp_path / above
    for split in ("train", "valid"):
        write_image(inner / images.format(split=split) / f"{split}.png", 40, 30)
        folder = inner / labels.format(split=split)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{split}{suffix}").write_text(text)
    with pytest.raises(UserError) as caught:
        load_annotations(tmp_path)
    one_line(caught, f"{tmp_path}: ", "a folder below it", f"; give {inner}")
    with pytest.raises(UserError, match="has the splits train, valid"):
        load_annotations(inner)


def test_another_export_beside_a_dataset_is_let_be(tmp_path, write_image):
    for folder, suffix, text in (("Annotations", ".xml", XML), ("labels", ".txt", LABEL)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"a{suffix}").write_text(text)
    write_image(tmp_path / "JPEGImages/a.png", 40, 30)
    for split in ("train", "val"):
        for suffix, text in ((".xml", XML), (".txt", LABEL)):
            (tmp_path / f"export/{split}").mkdir(parents=True, exist_ok=True)
            (tmp_path / f"export/{split}/{split}{suffix}").write_text(text)
        write_image(tmp_path / f"export/{split}/{split}.png", 40, 30)
    assert list(load_annotations(tmp_path).file_names) == ["a.png"]


def test_splits_of_images_alone_are_told_apart_by_their_folder(tmp_path, write_image, one_line):
    for split in ("train", "valid"):
        write_image(tmp_path / "images" / split / f"{split}.png", 40, 30)
        (tmp_path / "images" / split / f"{split}.xml").write_text(XML)
    with pytest.raises(UserError) as caught:
        load_annotations(tmp_path)
    one_line(caught, f"{tmp_path}: a folder below it has several splits", f"; give {tmp_path / 'images'}")
    assert list(load_annotations(tmp_path / "images", split="train").file_names) == ["train/train.png"]


def test_training_splits_of_a_folder_that_names_them(tmp_path):
    for split in ("train", "valid", "test"):
        _texts(tmp_path, {f"{split}/_annotations.coco.json": _coco("a.png")})
    assert training_splits(tmp_path) == ("train", "valid")
    assert dataset_splits(tmp_path) == ["train", "valid", "test"]
    with pytest.raises(UserError, match="has the splits"):
        load_annotations(tmp_path)
    with pytest.raises(UserError, match=r"is a single split; give it as --data\.train"):
        training_splits(tmp_path / "train/_annotations.coco.json")


def test_hidden_files_are_never_data(tmp_path, write_image):
    for name in ("a", "._a", ".ipynb_checkpoints/a-checkpoint"):
        write_image(tmp_path / f"images/{name}.png", 40, 30)
    _texts(
        tmp_path,
        {
            "labels/a.txt": YOLO_ROW,
            "labels/._a.txt": "\0",
            "._data.yaml": "\0",
            "data.yaml": "train: images\nnames: [cat]",
        },
    )
    assert list(load_annotations(tmp_path).file_names) == ["images/a.png"]
