from pathlib import Path

import pytest

from cascade_rcnn.data.yolo_config import find_config, is_yolo_folder, read_config
from cascade_rcnn.errors import UserError


def _config(folder: Path, text: str, *folders: str):
    for name in folders:
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "data.yaml").write_text(text)
    return read_config(folder)


def test_subsets_as_cvat_names_them(tmp_path):
    config = _config(tmp_path, "Validation: v\nTrain: t\nnames: {0: cat}\npath: .", "t", "v")
    assert config.splits == {"Train": [tmp_path / "t"], "Validation": [tmp_path / "v"]}
    (tmp_path / "data.yaml").rename(tmp_path / "other.yaml")
    assert find_config(tmp_path) == tmp_path / "other.yaml"


def test_a_file_of_the_classes_alone_describes_the_folders_beside_it(tmp_path):
    (tmp_path / "images/val").mkdir(parents=True)
    (tmp_path / "images/val/a.png").touch()
    config = _config(tmp_path, "nc: 1\nnames: [cat]", "images/train")
    assert config.splits == {"val": [tmp_path / "images/val"]}
    assert config.names == {0: "cat"}


def test_everything_is_text_as_written(tmp_path):
    names = _config(tmp_path, "train: a\nnames: [no, 2020-01-01, 1e3, ~]", "a").names
    assert names == {0: "no", 1: "2020-01-01", 2: "1e3", 3: "~"}
    assert _config(tmp_path, "train: a\nnames: {0: off, 7: x}").names == {0: "off", 7: "x"}


def test_a_number_of_classes_that_contradicts_their_names_is_mentioned(tmp_path):
    note = "nc is 3, but the number of classes named is 2; the names are used"
    assert _config(tmp_path, "train: a\nnc: 3\nnames: [x, y]", "a").notes == (note,)
    for text in ("nc: 2\nnames: [x, y]", "nc: 2\nnames: {0: x, 7: y}", "names: [x, y]"):
        assert _config(tmp_path, f"train: a\n{text}").notes == ()
    (tmp_path / "obj.names").write_text("cat\n")
    for classes, notes in (("1", 0), ("2", 1)):
        (tmp_path / "obj.data").write_text(f"classes = {classes}\nnames = obj.names\n")
        assert len(read_config(tmp_path / "obj.data").notes) == notes


def test_classes_that_a_yaml_does_not_name(tmp_path):
    config = _config(tmp_path, "train: a\nnc: 2", "a")
    assert config.names == {0: "class_0", 1: "class_1"}
    assert _config(tmp_path, "train: a\nnc: 2\nnames:").names == config.names
    assert config.notes == ("data.yaml names no classes, so they are called class_0 and so on; add their names",)
    (tmp_path / "classes.txt").write_text("x\ny\n")
    config = _config(tmp_path, "train: a\nnc: 2")
    assert config.names == {0: "x", 1: "y"}
    assert config.notes == ()


def test_aliases_are_refused_before_they_unfold(tmp_path):
    lines = ["a0: &a0 [x, x]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12))]
    with pytest.raises(UserError, match="it has aliases"):
        _config(tmp_path, "\n".join([*lines, "names: *a11", "train: a"]))


@pytest.mark.parametrize(
    "entry", ["set/train/images", "../train/images", "/content/set/train/images", r"C:\Users\me\train\images"]
)
def test_folders_of_other_machines_are_found_by_their_ends(tmp_path, entry):
    config = _config(tmp_path, f"train: {entry}\nnames: [a]", "train/images")
    assert [path.resolve() for path in config.splits["train"]] == [tmp_path / "train/images"]


def test_a_path_that_repeats_the_folders_above(tmp_path):
    config = _config(tmp_path / "set", "path: project/set\ntrain: project/set/train\nnames: [a]", "train")
    assert config.splits == {"train": [tmp_path / "set/train"]}


def test_two_splits_are_never_one_folder_by_mistake(tmp_path):
    with pytest.raises(UserError, match="/x/train/images and /x/valid/images are both found at"):
        _config(tmp_path, "train: /x/train/images\nval: /x/valid/images\nnames: [a]", "images")
    assert len(_config(tmp_path, "train: images\nval: ./images\nnames: [a]").splits) == 2  # both on purpose


def test_darknet(tmp_path):
    (tmp_path / "obj_train_data").mkdir()
    (tmp_path / "obj.data").write_text("classes = 2\ntrain = data/train.txt\nnames = data/obj.names\n")
    (tmp_path / "obj.names").write_text("cat\ndog\n")
    (tmp_path / "train.txt").write_text("data/obj_train_data/a.jpg\n")
    config = read_config(tmp_path)
    assert config.splits == {"train": [tmp_path / "train.txt"]}
    assert config.names == {0: "cat", 1: "dog"}
    (tmp_path / "obj.names").write_text("\ncat\u2028a\r\n dog\n\n", encoding="utf-8")
    assert read_config(tmp_path / "obj.data").names == {0: "", 1: "cat\u2028a", 2: "dog"}  # labels are line numbers


@pytest.mark.parametrize(
    ("images", "labels", "splits"),
    [
        ("images/train/a.png", "labels/train/a.txt", ["train"]),
        ("train/images/a.png", "train/labels/a.txt", ["train"]),
        ("images/a.png", "labels/a.txt", ["all"]),
        ("a.png", "a.txt", ["all"]),
        ("train/a.png", "train/a.txt", ["train"]),
    ],
)
def test_folders_alone(tmp_path, images, labels, splits):
    for name in (images, labels):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / images).touch()
    assert not is_yolo_folder(tmp_path)
    (tmp_path / labels).touch()
    assert is_yolo_folder(tmp_path)
    assert list(read_config(tmp_path).splits) == splits


def test_a_yaml_of_another_name_is_found_and_one_of_another_kind_is_not(tmp_path):
    (tmp_path / "settings.yaml").write_text("lr: 1")
    assert find_config(tmp_path) is None
    (tmp_path / "coco8.yaml").write_text("train: images\nnames: [a]")
    assert find_config(tmp_path) == tmp_path / "coco8.yaml"
    (tmp_path / "coco9.yaml").write_text("train: images\nnames: [b]")
    with pytest.raises(UserError, match=r"both coco8\.yaml and coco9\.yaml describe a YOLO dataset; give one of them"):
        find_config(tmp_path)
    (tmp_path / "data.yaml").touch()
    assert find_config(tmp_path) == tmp_path / "data.yaml"


def test_validation_in_full(tmp_path):
    config = _config(tmp_path, "train: a\nvalidation: b\nnames: [x]", "a", "b")
    assert config.splits == {"train": [tmp_path / "a"], "validation": [tmp_path / "b"]}
