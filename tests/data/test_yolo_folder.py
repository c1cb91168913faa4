import pytest

from cascade_rcnn.data.yolo_config import is_yolo_folder, read_config
from cascade_rcnn.errors import UserError


@pytest.mark.parametrize(
    ("notes", "names"),
    [
        ('[{"id": "1", "name": "cat"}, {"id": "2", "name": "dog"}]', {1: "cat", 2: "dog"}),  # set by the user
        ('[{"id": 1, "name": "cat"}, {"id": 0, "name": "dog"}]', {1: "cat", 0: "dog"}),
        ('[{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}]', None),
        ("[]", None),
        ('["cat"]', None),
        ("[", None),
    ],
)
def test_label_studio_numbers_classes_in_its_notes(tmp_path, notes, names):
    (tmp_path / "images").mkdir()
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    (tmp_path / "notes.json").write_text(f'{{"categories": {notes}, "info": {{}}}}')
    config = read_config(tmp_path)
    assert config.names == (names or {0: "cat", 1: "dog"})
    assert len(config.notes) == (names is not None)


@pytest.mark.parametrize("place", ["labels", "Labels", "labels/train", "train/labels"])
def test_labelimg_names_the_classes_beside_the_labels(tmp_path, place):
    for folder in ("images/train" if place.lower().startswith("labels") else "train/images", place):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / place / "classes.txt").write_text("cat\ndog\n")
    assert read_config(tmp_path).names == {0: "cat", 1: "dog"}
    (tmp_path / "classes.txt").write_text("dog\n")
    assert read_config(tmp_path).names == {0: "dog"}


def test_splits_that_name_other_classes_need_one_file(tmp_path, one_line):
    for split, names in (("train", "cat\ndog\n"), ("val", "dog\ncat\n")):
        for folder in ("images", "labels"):
            (tmp_path / folder / split).mkdir(parents=True)
        (tmp_path / "labels" / split / "classes.txt").write_text(names)
    with pytest.raises(UserError) as caught:
        read_config(tmp_path)
    one_line(caught, "labels/train/classes.txt and ", "labels/val/classes.txt name other classes; put the right file")


def test_folders_of_images_in_any_case(tmp_path):
    (tmp_path / "Images/train").mkdir(parents=True)
    (tmp_path / "Labels/train").mkdir(parents=True)
    (tmp_path / "Labels/train/a.txt").touch()
    assert is_yolo_folder(tmp_path)
    assert read_config(tmp_path).splits == {"train": [tmp_path / "Images/train"]}
