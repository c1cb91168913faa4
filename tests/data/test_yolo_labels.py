from pathlib import Path

import pytest

from cascade_rcnn.data.yolo_labels import find_labels, label_of, shared_labels, unused_labels


def _write(folder: Path, *names: str, text: str = "0 0.5 0.5 0.1 0.1\n") -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("images/a.jpg", "labels/a.txt"),
        ("set/images/train/a.b.png", "set/labels/train/a.b.txt"),
        ("images/train/images/a.jpg", "images/train/labels/a.txt"),
        ("images/Images/a.jpg", "labels/Images/a.txt"),
        ("VOC2007/JPEGImages/a.jpg", "VOC2007/labels/a.txt"),
        ("Images/train/a.jpg", "labels/train/a.txt"),
        ("photos/a.jpg", "photos/a.txt"),
        ("images", "images.txt"),
    ],
)
def test_where_a_label_file_belongs(image, label):
    assert label_of(Path(image)) == Path(label)


def test_labels_lie_in_their_folder_or_beside_the_image(tmp_path):
    _write(tmp_path, "labels/a.txt", "images/a.txt", "images/b.txt")
    found = find_labels([tmp_path / f"images/{name}.jpg" for name in "abc"])
    assert found == [tmp_path / "labels/a.txt", tmp_path / "images/b.txt", None]


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("JPEGImages/a.jpg", "labels/a.txt"),
        ("Images/train/a.jpg", "Labels/train/a.txt"),
        ("train/images/a.jpg", "train/Labels/a.txt"),
        ("images/VOC/JPEGImages/a.jpg", "images/VOC/labels/a.txt"),
    ],
)
def test_folders_of_other_names(tmp_path, image, label):
    _write(tmp_path, label)
    assert find_labels([tmp_path / image]) == [tmp_path / label]
    assert unused_labels([tmp_path / image], [(tmp_path / image).parent]) == []
    assert len(unused_labels([], [(tmp_path / image).parent])) == 1


def test_label_files_of_several_images_are_mentioned(tmp_path):
    _write(tmp_path, "labels/a.txt", "labels/b.txt")
    images = [tmp_path / f"images/{name}" for name in ("a.jpg", "b.jpg", "b.jpg", "c.jpg", "d.jpg")]
    assert shared_labels(images, find_labels(images)) == []
    images.append(tmp_path / "images/a.png")
    (note,) = shared_labels(images, find_labels(images))
    assert note.startswith(f"1 label file belongs to several images (first: {tmp_path / 'labels/a.txt'})")


def test_another_case_is_found_unless_it_is_that_of_another_image(tmp_path):
    _write(tmp_path, "labels/B.txt", "labels/c.TXT", "labels/d.txt")
    images = [tmp_path / f"images/{name}" for name in ("b.jpg", "C.JPG", "d.jpg", "D.jpg")]
    names = [path and path.name for path in find_labels(images)]
    assert names == ["B.txt", "c.TXT", "d.txt", None]


def test_label_files_of_no_image_are_mentioned_and_other_text_files_are_not(tmp_path):
    images = [tmp_path / "images/a.jpg", tmp_path / "images/deep/B.jpg"]
    _write(tmp_path, "labels/a.txt", "labels/deep/b.txt", "images/a.txt")
    _write(tmp_path, "labels/classes.txt", "labels/train.txt", text="images/a.jpg\n")
    _write(tmp_path, "labels/counts.txt", text="5\n7\n")
    _write(tmp_path, "labels/empty.txt", "labels/.hidden.txt", text="")
    assert unused_labels(images, [tmp_path / "images"]) == []
    _write(tmp_path, "labels/B.txt", "labels/other/a.txt")
    (note,) = unused_labels(images, [tmp_path / "images"])
    assert note == f"2 label files belong to no image (first: {tmp_path / 'labels/B.txt'}); check the names"
    (tmp_path / "labels/B.txt").unlink()
    assert unused_labels(images, [tmp_path / "images"])[0].startswith("1 label file belongs to no image")
