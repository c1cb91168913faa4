"""A prediction's folder: its own files are replaced, those of others and the input never."""

import re

import pytest

from cascade_rcnn.engine.prediction.formats.write import NAMES
from cascade_rcnn.engine.prediction.output_folder import check_folder
from cascade_rcnn.errors import UserError


@pytest.mark.parametrize("name", [*NAMES, "detections.json", "pictures", "video.mp4"])
def test_files_that_no_prediction_has_written(tmp_path, name):
    place = tmp_path / "out" / name
    place.mkdir(parents=True)
    with pytest.raises(UserError, match=f"^{re.escape(str(place))}: would be replaced.*images.jsonl") as caught:
        check_folder(tmp_path / "out", [])
    assert "\n" not in str(caught.value)
    (tmp_path / "out" / "images.jsonl").write_text("")
    check_folder(tmp_path / "out", [tmp_path])
    (place / "a.png").write_bytes(b"")
    with pytest.raises(UserError, match="would replace an input"):
        check_folder(tmp_path / "out", ["starter", place / "a.png"])


def test_other_files_do_not_matter(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "notes.json").write_text("")
    check_folder(tmp_path, [tmp_path / "photos", tmp_path / "notes.json"])


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        check_folder(tmp_path / "file", [])


def test_images_put_beside_the_labels_of_a_prediction_are_not_deleted(tmp_path):
    (tmp_path / "images.jsonl").write_text("")
    image = tmp_path / "yolo/images/deep/a.png"
    image.parent.mkdir(parents=True)
    check_folder(tmp_path, [])
    image.write_bytes(b"")
    with pytest.raises(UserError, match=f"^{re.escape(str(image))}: would be deleted .*; move .*yolo to another place"):
        check_folder(tmp_path, [])
