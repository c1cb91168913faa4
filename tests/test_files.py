"""Files appear complete or not at all."""

import json
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cascade_rcnn.errors import UserError
from cascade_rcnn.files import folder_aside, read_json, remove_leftovers, replacing, write_json, write_text


def test_a_file_appears_when_the_block_ends(tmp_path):
    path = tmp_path / "new" / "folder" / "file.txt"
    with replacing(path) as aside:
        aside.write_text("whole")
        assert not path.exists()
        assert aside.parent == path.parent  # on the same file system, so renaming is atomic
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


@pytest.mark.parametrize("name", ["a" * 251 + ".png", "é" * 125 + ".png"])
def test_a_name_of_the_greatest_length(tmp_path, name):
    write_text(tmp_path / name, "content")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_places_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder" / "inside").mkdir(parents=True)
    for path in (tmp_path / "file" / "below", tmp_path / "folder"):
        with pytest.raises(UserError, match="cannot be written") as caught:
            write_json(path, 1)
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]


def test_the_target_of_a_link_is_replaced_and_the_link_stays(tmp_path):
    (tmp_path / "store").mkdir()
    for target in ("store/old.json", "store/new.json", "more/new.json"):  # the last two do not exist yet
        link = tmp_path / f"{target.replace('/', '-')}"
        link.symlink_to(target)
        write_json(tmp_path / "store" / "old.json", "old")
        write_json(link, "new")
        assert link.is_symlink()
        assert read_json(tmp_path / target) == "new"
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_pipe_stays_a_pipe_and_receives_the_whole_file(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()), daemon=True)
    reader.start()
    write_json(pipe, [1, 2])
    reader.join(10)
    assert json.loads(received[0]) == [1, 2]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


def test_a_device_stays_a_device(tmp_path):
    device = tmp_path / "null"
    try:
        os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        device.write_text("")
    except OSError:
        pytest.skip("only root makes devices, and not everywhere")
    write_json(device, [1])
    assert stat.S_ISCHR(device.stat().st_mode)
    assert [path.name for path in tmp_path.iterdir()] == ["null"]


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="no link to standard output")
@pytest.mark.parametrize("mode", ["w", "a"])
def test_standard_output_is_written_in_order_even_to_a_file(tmp_path, mode):
    link = tmp_path / "stdout"  # not /dev/stdout itself, which a fault would replace
    link.symlink_to("/proc/self/fd/1")
    code = f"from cascade_rcnn.files import write_json; print('a'); write_json({str(link)!r}, 1); print('b')"
    (tmp_path / "log").write_text("before\n")
    with (tmp_path / "log").open(mode) as log:
        subprocess.run([sys.executable, "-c", code], stdout=log, check=True)
    assert (tmp_path / "log").read_text() == ("before\n" if mode == "a" else "") + "a\n1\nb\n"


@pytest.mark.parametrize("name", ["", ".", "/", ".."])
def test_a_path_without_a_name_is_one_line(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="cannot be written") as caught:
        write_json(name, 1)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_json_with_a_byte_order_mark_is_read_and_a_pipe_is_not(tmp_path):
    for encoding in ("utf-8-sig", "utf-16"):
        (tmp_path / "a.json").write_text('{"ä": 1}', encoding=encoding)
        assert read_json(tmp_path / "a.json") == {"ä": 1}
    os.mkfifo(tmp_path / "pipe")
    for path, what in ((tmp_path / "pipe", "a pipe or device"), (tmp_path, "a folder")):
        with pytest.raises(UserError, match=what):
            read_json(path)


def test_values_that_are_not_json_leave_the_old_file(tmp_path):
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


def test_what_was_there_before_becomes_the_backup(tmp_path):
    path, backup = tmp_path / "state", tmp_path / "before"
    for content in ("first", "second", "third"):
        with replacing(path, backup=backup) as aside:
            aside.write_text(content)
    assert (path.read_text(), backup.read_text()) == ("third", "second")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["before", "state"]


def test_the_content_is_on_the_disk_before_the_name_is(tmp_path, monkeypatch):
    events = []
    sync, rename = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (events.append(os.fstat(descriptor).st_size), sync(descriptor)))
    monkeypatch.setattr(Path, "replace", lambda path, target: (events.append("renamed"), rename(path, target))[1])
    with replacing(tmp_path / "file") as aside:
        aside.write_text("whole")
    assert events[:2] == [5, "renamed"]
    assert len(events) == 3  # the file, then the folder


def test_leftovers_of_killed_processes_are_removed_and_nothing_else(tmp_path, dead):
    mine, huge = f".mine.{os.getpid()}.tmp", f".last.{'9' * 30}.tmp"  # in a container, the killed one had the same id
    running = f".last.safetensors.{os.getppid()}.tmp"  # such as of a training run in a subfolder
    names = ("mine.tmp", ".hidden", "last.safetensors", ".notes.tmp", running)
    for name in (f".last.safetensors.{dead}.tmp", mine, huge, *names):
        (tmp_path / name).write_text("")
    (tmp_path / f".folder.{dead}.tmp").mkdir()
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / f".a.png.{dead}.tmp").write_text("")
    remove_leftovers(tmp_path)
    left = {path.name for path in tmp_path.rglob("*")}
    assert left == {*names, f".folder.{dead}.tmp", "pictures"}


def test_a_folder_aside_takes_away_those_of_the_dead_alone(tmp_path, dead):
    alive = tmp_path / f".m.onnx.{os.getppid()}.tmp"
    for folder in (alive, *(tmp_path / f".m.onnx.{name}.tmp" for name in (dead, os.getpid(), "x"))):
        folder.mkdir()
        (folder / "half").write_text("")
    with folder_aside(tmp_path / "m.onnx") as folder:
        (folder / "m.onnx").write_text("")
    assert list(tmp_path.iterdir()) == [alive]
