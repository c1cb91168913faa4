"""Text files written by any tool, and files that would block."""

import os

import pytest

from cascade_rcnn.errors import UserError
from cascade_rcnn.text_files import read_lines, read_text, read_utf8


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_marks_are_read_over(tmp_path, encoding):
    path = tmp_path / "a.txt"
    path.write_bytes("Zürich\n\n b \n".encode(encoding))
    assert read_text(path) == "Zürich\n\n b \n"
    assert read_lines(path) == ["Zürich", "", "b"]


def test_lines_end_as_on_linux_windows_and_macs_but_nowhere_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("a\r\nb\rc\u2028d\x0ce\n\nf".encode())
    assert read_lines(path) == ["a", "b", "c\u2028d\x0ce", "", "f"]


def test_names_that_are_not_unicode_survive_in_lists_and_are_refused_elsewhere(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"caf\xe9.jpg\n")
    assert os.fsencode(read_lines(path)[0]) == b"caf\xe9.jpg"
    message = r"a\.txt: this is not UTF-8 text \(invalid continuation byte near 'caf�\.jpg\\n'\); save it as UTF-8"
    with pytest.raises(UserError, match=message):
        read_text(path)


@pytest.mark.parametrize(("name", "part"), [("pipe", "a pipe"), ("folder", "a folder"), ("none", "no such file")])
def test_what_is_not_a_file_is_refused_at_once(tmp_path, name, part):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match=part) as caught:
        read_utf8(tmp_path / name)
    assert str(caught.value).count(f"{tmp_path / name}: ") == 1


def test_a_pointer_of_git_lfs_is_named(tmp_path):
    (tmp_path / "a.json").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")
    with pytest.raises(UserError, match=r"a\.json: this is a pointer of Git LFS, .* run `git lfs pull`"):
        read_utf8(tmp_path / "a.json")
