from pathlib import Path

import pytest

from cascade_rcnn.data.check import check_images
from cascade_rcnn.data.yolo import load_yolo
from cascade_rcnn.errors import UserError


def _labels(root: Path, stem: str, text: str) -> None:
    path = root / f"labels/train/{stem}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def root(tmp_path, write_image) -> Path:
    (tmp_path / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [cat, dog]\n")
    for name in ("train/a.png", "train/b.png", "val/c.png"):
        write_image(tmp_path / "images" / name, 40, 80)
    _labels(tmp_path, "a", "1 0.5 0.5 0.25 0.125\n\n0 0.25 0.25 0.5 0.5\n")
    (tmp_path / "labels/val").mkdir()
    (tmp_path / "labels/val/c.txt").write_text("0 0.1 0.2 0.6 0.3 0.4 0.9\n")
    return tmp_path


def test_hand_made_folder(root):
    annotations = load_yolo(root, "train")
    assert [(c.id, c.name) for c in annotations.categories] == [(0, "cat"), (1, "dog")]
    assert list(annotations.file_names) == ["images/train/a.png", "images/train/b.png"]
    assert annotations.image_sizes.tolist() == [[80, 40], [80, 40]]
    assert annotations.first.tolist() == [0, 2, 2]
    assert annotations.boxes.tolist() == [[15, 35, 10, 10], [0, 0, 20, 40]]
    assert annotations.areas.tolist() == [100, 800]
    assert annotations.labels.tolist() == [2, 1]
    assert annotations.notes == (
        f"{root / 'data.yaml'} (train): 1 of 2 images have no boxes; they count as background",
    )
    check_images(annotations)


def test_polygon_becomes_its_bounding_box(root):
    annotations = load_yolo(root / "data.yaml", "val")
    assert annotations.boxes[0].tolist() == pytest.approx([4, 16, 20, 56])


def test_polygons_are_kept_when_asked(root):
    assert load_yolo(root, "val").segmentations is None
    found = load_yolo(root, "val", masks=True).segmentations
    assert found is not None
    assert found.coco(0) == [[4, 16, 24, 24, 16, 72]]  # in an image of 40 x 80
    assert load_yolo(root, "train", masks=True).segmentations is None  # a file of box rows only
    _labels(root, "b", "0 0.1 0.2 0.6 0.3 0.4 0.9\n")
    mixed = load_yolo(root, "train", masks=True)
    assert mixed.segmentations is not None
    assert mixed.segmentations.has().tolist() == [False, False, True]
    assert any("2 of 3 objects have no segmentation" in note for note in mixed.notes)


def test_rows_with_a_confidence_and_a_track_are_no_triangles(root, one_line):
    for row in ("0 0.5 0.5 0.2 0.4 0.9 2", "0 0.5 0.5 0.2 0.4 0.9 17"):
        _labels(root, "a", f"{row}\n")
        with pytest.raises(UserError) as caught:
            load_yolo(root, "train")
        one_line(caught, f"a.txt:1: '{row}' looks like a detection", "remove the last two numbers")
    _labels(root, "a", "0 0.5 0.5 0.2 0.4 0.9 1\n1 0.5 0.5 0.2 0.4 0.9 0.8\n")  # 1 is also the lower edge of an image
    annotations = load_yolo(root, "train")
    assert annotations.boxes[0].tolist() == pytest.approx([8, 32, 28, 48])
    note = "1 of 2 rows have 6 coordinates, the last of them 1, and count as triangles"
    assert any(note in one for one in annotations.notes)


def test_rows_with_keypoints_keep_their_box(root):
    (root / "data.yaml").write_text("train: images/train\nkpt_shape: [2, 3]\nnames: {0: person}\n")
    _labels(root, "a", "0 0.5 0.5 0.25 0.125 0.1 0.1 2 0.9 0.9 2\n")
    assert load_yolo(root, "train").boxes.tolist() == [[15, 35, 10, 10]]


def test_rows_of_another_number_of_keypoints_are_refused(root, one_line):
    (root / "data.yaml").write_text("train: images/train\nkpt_shape: [2, 3]\nnames: {0: person}\n")
    _labels(root, "a", "0 0.5 0.5 0.2 0.2\n0 0.1 0.2 0.6 0.3 0.4 0.9 0.2 0.2\n")  # an outline
    with pytest.raises(UserError) as caught:
        load_yolo(root, "train")
    one_line(caught, "a.txt:2: has 9 numbers", "as kpt_shape says, 6 numbers")


@pytest.mark.parametrize(
    "text",
    [
        "path: .\ntrain: [images/train]\nnames: {0: cat, 1: dog}",
        "path: /another/machine\ntrain: images/train\nnames: [cat, dog]",
        "train: ../images/train\nnames: [cat, dog]",
        "train: list.txt\nnames: [cat, dog]",
    ],
)
def test_ways_to_name_the_images(root, text):
    (root / "data.yaml").write_text(text)
    (root / "list.txt").write_text("./images/train/a.png\n\nimages/train/b.png\n")
    annotations = load_yolo(root, "train")
    assert [annotations.path(i) for i in range(2)] == [root / "images/train/a.png", root / "images/train/b.png"]
    assert annotations.labels.tolist() == [2, 1]


def test_contradictions_about_classes_are_mentioned(root):
    (root / "data.yaml").write_text("train: images/train\nnc: 4\nnames: [cat, dog, cat]")
    notes = load_yolo(root, "train").notes
    assert any("nc is 4, but the number of classes named is 3" in note for note in notes)
    assert any("two classes are named 'cat'; they remain separate" in note for note in notes)


def test_rows_of_corners_are_mentioned(root):
    corners = "seem to be corners (x1 y1 x2 y2), since as such all lie in their images; write class cx cy w h"
    for row, is_odd in (("1 0.5 0.5 0.9 0.8", True), ("1 0.5 0.5 1 1", False), ("1 0.9 0.5 0.5 0.8", False)):
        _labels(root, "a", f"0 0.1 0.2 0.3 0.4\n{row}\n" if is_odd else row)
        assert any(corners in note for note in load_yolo(root, "train").notes) == is_odd


def test_class_numbers_with_gaps(root):
    (root / "data.yaml").write_text("train: images/train\nnames: {7: dog, 2: cat}")
    _labels(root, "a", "7 0.5 0.5 0.25 0.125")
    annotations = load_yolo(root, "train")
    assert [(c.id, c.name) for c in annotations.categories] == [(2, "cat"), (7, "dog")]
    assert annotations.labels.tolist() == [2]


def test_labels_beside_the_images(tmp_path, write_image):
    write_image(tmp_path / "train/a.png", 40, 80)
    (tmp_path / "train/a.txt").write_text("0 0.5 0.5 0.25 0.125")
    (tmp_path / "data.yaml").write_text("train: train\nnames: [cat]")
    assert load_yolo(tmp_path, "train").boxes.tolist() == [[15, 35, 10, 10]]


@pytest.mark.parametrize(
    ("row", "parts"),
    [
        ("0, 0.5, 0.5, 0.1, 0.1", ["write class cx cy w h, with spaces between"]),
        ("cat 0.5 0.5 0.1 0.1", ["'cat 0.5 0.5 0.1 0.1' is not a row of numbers"]),
        ("0 0.5 0.5 0.1", ["4 numbers", "class cx cy w h"]),
        ("0 0.5 0.5 0.1 0.1 0.9", ["6 numbers"]),
        ("2 0.5 0.5 0.1 0.1", ["class 2 has no name; add one to those of", "data.yaml"]),
        ("0 0.5 0.5 0.2 0.2 0.5 0.5 2 0.4 0.4 1", ["looks like a box with keypoints", "kpt_shape in data.yaml"]),
        ("0 0.5 0.5 0.2 0.2 0.5 0.5 2", ["looks like a box with keypoints"]),
        ("0.5 0.5 0.5 0.1 0.1", ["the class is 0.5"]),
        ("0 100 200 30 40", ["looks like pixels"]),
        ("nan 0.5 0.5 0.1 0.1", ["the class is nan"]),
    ],
)
def test_each_bad_row_is_one_line_that_names_it(root, one_line, row, parts):
    _labels(root, "a", f"0 0.5 0.5 0.1 0.1\n{row}\n")
    with pytest.raises(UserError) as caught:
        load_yolo(root, "train")
    one_line(caught, "a.txt:2", *parts)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("train: images/train\nnames: [cat\n", ["cannot read"]),
        ("just text", ["has no keys"]),
        ("train: images/train\nnames: &a [cat]\nb: *a", ["cannot read", "it has aliases"]),
        ("train: images/train\nnames: " + "[" * 1000 + "]" * 1000, ["nested too deeply"]),
        ("train: images/train\nnc: -2", ["there are no names; list the class names (names: [car, dog])"]),
        ("train: images/train\nnc: 999999999999", ["there are no names"]),
        ("train: images/train\nnames: dog", ["names is 'dog'; list the class names (names: [car, dog])"]),
        ("val: images/val\nnames: [cat]", ["no split 'train'", "only val"]),
        ("train: \npath: labels\nnames: [cat]", ["names no images; add train and val"]),
        ("train: images/train\nkpt_shape: 17\nnames: [cat]", ["kpt_shape is '17'; write the number of keypoints"]),
        ("train: images/absent\nnames: [cat]", ["images/absent does not exist"]),
        ("train: labels\nnames: [cat]", ["labels contains no images"]),
        ("train: images/train\nnames:\n  0: cat\n  1:\n", ["the class with id 1 has no name"]),
        ("train: images/train\nnames: [cat, '']", ["the class with id 1 has no name"]),
    ],
)
def test_each_bad_yaml_is_one_line_that_names_it(root, one_line, text, parts):
    (root / "data.yaml").write_text(text)
    with pytest.raises(UserError) as caught:
        load_yolo(root, "train")
    one_line(caught, "data.yaml", *parts)


def test_missing_split_and_labels(root, one_line):
    with pytest.raises(UserError) as caught:
        load_yolo(root, None)
    one_line(caught, "has the splits train, val; choose one")
    (root / "labels/val/c.txt").unlink()
    with pytest.raises(UserError) as caught:
        load_yolo(root, "val")
    one_line(caught, "no image of split val has a label file", str(root / "labels/val/c.txt"))


def test_a_list_of_anything_else_is_not_shown(root, tmp_path_factory, one_line):
    secret = tmp_path_factory.mktemp("etc") / "passwd"
    secret.write_text("root:x:0:0:root\n")
    (root / "data.yaml").write_text(f"train: {secret}\nnames: [cat]")
    with pytest.raises(UserError) as caught:
        load_yolo(root, "train")
    one_line(caught, "passwd is neither a folder of images nor a .txt")
    secret.rename(secret.with_suffix(".txt"))
    (root / "data.yaml").write_text(f"train: {secret.with_suffix('.txt')}\nnames: [cat]")
    with pytest.raises(UserError) as caught:
        load_yolo(root, "train")
    one_line(caught, "passwd.txt: line 1 is not an image name")
    assert "root:x" not in str(caught.value)


def test_lists_relative_to_another_root(root):
    (root / "lists").mkdir()
    (root / "lists/train.txt").write_text("data/images/train/a.png\nC:\\set\\images\\train\\b.png\n")
    (root / "data.yaml").write_text("train: lists/train.txt\nnames: [cat, dog]")
    annotations = load_yolo(root, "train")
    assert [annotations.path(i) for i in range(2)] == [root / "images/train/a.png", root / "images/train/b.png"]
    assert annotations.labels.tolist() == [2, 1]


def test_lists_that_lead_out_of_a_relative_folder(root, tmp_path, write_image, monkeypatch):
    write_image(tmp_path / "other/images/d.png", 40, 80)
    (root / "set/lists").mkdir(parents=True)
    (root / "set/data.yaml").write_text("train: lists/train.txt\nnames: [cat, dog]")
    (root / "set/lists/train.txt").write_text("../../images/train/a.png\n../../other/images/d.png\n")
    monkeypatch.chdir(tmp_path)
    annotations = check_images(load_yolo(Path("set"), "train"))
    assert [annotations.path(i) for i in range(2)] == [tmp_path / "images/train/a.png", tmp_path / "other/images/d.png"]


def test_images_that_cannot_be_read_are_reported_together_or_left_out(root, write_image, one_line):
    write_image(root / "images/train/0.png", 40, 80)
    for name in ("a", "b"):
        (root / f"images/train/{name}.png").write_text("text")
    with pytest.raises(UserError) as caught:
        load_yolo(root, "train")
    one_line(caught, "2 of 3 images cannot be used", "a.png: cannot open this image", "b.png: cannot open this image")
    kept = load_yolo(root, "train", bad_images="skip")
    assert list(kept.file_names) == ["images/train/0.png"]
    assert len(kept.boxes) == 0


def test_pictures_that_are_not_read_are_mentioned(root):
    (root / "images/train/IMG_1.HEIC").touch()
    assert any("1 .heic (first: IMG_1.HEIC)" in note for note in load_yolo(root, "train").notes)


def test_two_images_of_a_name_are_mentioned(root, write_image):
    write_image(root / "images/train/a.jpg", 40, 80)
    annotations = load_yolo(root, "train")
    assert len(annotations.boxes) == 4
    assert any("1 label file belongs to several images" in note for note in annotations.notes)


def test_label_files_of_no_image_are_mentioned(root):
    note = "1 label file belongs to no image (first: "
    _labels(root, "B", "0 0.5 0.5 0.1 0.1")  # that of b.png, on Windows
    annotations = load_yolo(root, "train")
    assert len(annotations.boxes) == 3
    assert not any(note in one for one in annotations.notes)
    _labels(root, "lost", "0 0.5 0.5 0.1 0.1")
    assert any(f"{note}{root / 'labels/train/lost.txt'})" in one for one in load_yolo(root, "train").notes)
    assert not any(note in one for one in load_yolo(root, "val").notes)
    (root / "images/train/lost.heic").touch()
    assert not any(note in one for one in load_yolo(root, "train").notes)


def test_a_list_leaves_images_and_their_labels_to_other_lists(root):
    (root / "data.yaml").write_text("train: list.txt\nnames: [cat, dog]")
    (root / "list.txt").write_text("images/train/a.png\n")
    _labels(root, "b", "0 0.5 0.5 0.1 0.1")
    assert load_yolo(root, "train").notes == ()
    _labels(root, "lost", "0 0.5 0.5 0.1 0.1")
    (note,) = load_yolo(root, "train").notes
    assert "1 label file belongs to no image" in note


@pytest.mark.parametrize("names", ["classes.txt", "obj.names", None])
def test_folders_without_a_yaml(root, names):
    (root / "data.yaml").unlink()
    if names:
        (root / names).write_text("cat\ndog\n")
    annotations = load_yolo(root, "train")
    assert [c.name for c in annotations.categories] == (["cat", "dog"] if names else ["0", "1"])
    assert annotations.labels.tolist() == [2, 1]
    given = load_yolo(root, "train", classes=["Katze", "Hund", "Maus"])
    assert [c.name for c in given.categories] == (["cat", "dog"] if names else ["Katze", "Hund", "Maus"])
