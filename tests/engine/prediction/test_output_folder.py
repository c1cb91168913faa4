"""A prediction's folder: its own files are replaced, those of others and the input never."""

import re

import pytest

from cascade_rcnn.engine.prediction.formats.write import NAMES
from cascade_rcnn.engine.prediction.output_folder import check_folder
from cascade_rcnn.errors import UserError


@pytest.mark.parametrize("name", [*NAMES, "detections.json", "pictures"])
def test_files_that_no_prediction_has_written(tmp_path, name):
    place = tmp_path / "out" / name
    place.mkdir(parents=True)
    with pytest.raises(UserError, match=f"^{re.escape(str(place))}: would be replaced.*images.jsonl") as caught:
        check_folder(tmp_path / "out", "pictures", [])
    assert "\n" not in str(caught.value)
    (tmp_path / "out" / "images.jsonl").write_text("")
    check_folder(tmp_path / "out", "pictures", [tmp_path])
    (place / "a.png").write_bytes(b"")
    with pytest.raises(UserError, match="would replace an input"):
        check_folder(tmp_path / "out", "pictures", ["starter", place / "a.png"])


def test_other_files_do_not_matter(tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "notes.json").write_text("")
    check_folder(tmp_path, None, [tmp_path / "pictures", tmp_path / "notes.json"])
    check_folder(tmp_path, "video.mp4", [tmp_path / "pictures"])


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        check_folder(tmp_path / "file", None, [])
