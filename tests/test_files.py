"""Files appear whole or not at all."""

import pytest

from cascade_rcnn.errors import UserError
from cascade_rcnn.files import read_json, replacing, write_json


def test_a_file_appears_when_the_block_ends(tmp_path):
    path = tmp_path / "new" / "folder" / "file.txt"
    with replacing(path) as aside:
        aside.write_text("whole")
        assert not path.exists()
        assert aside.parent == path.parent  # the same file system, so that renaming is atomic
    assert path.read_text() == "whole"
    assert [p.name for p in path.parent.iterdir()] == ["file.txt"]


def test_an_exception_leaves_the_old_file_and_no_rubbish(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")

    def fail_half_way() -> None:
        with replacing(path) as aside:
            aside.write_text("half of the ne")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file.txt"]


def test_a_new_file_replaces_the_old(tmp_path):
    path = tmp_path / "file.json"
    write_json(path, {"a": 1})
    write_json(path, [1, "ä"])
    assert read_json(path) == [1, "ä"]


def test_places_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder" / "inside").mkdir(parents=True)
    for path in (tmp_path / "file" / "below", tmp_path / "folder"):
        with pytest.raises(UserError, match="cannot be written") as caught:
            write_json(path, 1)
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]


def test_values_that_are_no_json_leave_the_old_file(tmp_path):
    path = tmp_path / "file.json"
    write_json(path, 1)
    with pytest.raises(TypeError):
        write_json(path, object())
    assert read_json(path) == 1


def test_json_that_cannot_be_read(tmp_path):
    (tmp_path / "broken.json").write_text('{"a": ')
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    for name, message in (("missing", "no such file"), ("broken", "not a JSON"), ("binary", "not a JSON")):
        path = tmp_path / f"{name}.json"
        with pytest.raises(UserError, match=message) as caught:
            read_json(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)
