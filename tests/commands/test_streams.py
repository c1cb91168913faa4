"""Printing outlasts its readers, and what stdout has lost is reported."""

import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cascade_rcnn.commands.streams import lasting_streams

FULL = Path("/dev/full")


@pytest.fixture
def stream(monkeypatch):
    """Return a function that replaces a standard stream by one on a file descriptor."""

    made = []

    def put(name: str, descriptor: int) -> io.TextIOWrapper:
        made.append(os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace"))
        monkeypatch.setattr(sys, name, made[-1])
        return made[-1]

    yield put
    for file in made:
        file.close()


def unread() -> int:
    """Return the writing end of a pipe that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    return writer


def test_text_arrives_in_order_and_in_the_streams_encoding(tmp_path, stream):
    file = os.open(tmp_path / "out", os.O_CREAT | os.O_WRONLY)
    before = stream("stdout", file)
    print("before ", end="")
    with lasting_streams():
        assert sys.stdout is not before
        print("größer \ud800")  # not valid in UTF-8: escaped, as by the stream before
        assert sys.stdout.fileno() == file
    assert sys.stdout is before
    print("after", flush=True)
    assert (tmp_path / "out").read_text(encoding="utf-8") == "before größer \\ud800\nafter\n"


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_readers_may_leave(name, stream):
    stream(name, unread())
    with lasting_streams():
        print("x" * 100_000, file=getattr(sys, name), flush=True)
        print("y", file=getattr(sys, name))


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
def test_a_full_disk_is_reported_for_stdout_at_the_end(stream):
    stream("stderr", os.open(FULL, os.O_WRONLY))
    with lasting_streams():
        print("progress", file=sys.stderr)
    stream("stdout", os.open(FULL, os.O_WRONLY))
    done = []

    def work() -> None:
        with lasting_streams():
            print("result", flush=True)
            done.append("the work")

    with pytest.raises(OSError, match="No space left") as lost:
        work()
    assert lost.value.errno == errno.ENOSPC
    assert done


def test_streams_without_a_file_stay_as_they_are(monkeypatch):
    captured = io.StringIO()
    monkeypatch.setattr(sys, "stdout", captured)
    with lasting_streams():
        assert sys.stdout is captured


def test_what_cannot_be_encoded_is_escaped(tmp_path, monkeypatch):
    with (tmp_path / "out").open("w", encoding="cp1252") as file:
        monkeypatch.setattr(sys, "stdout", file)
        with lasting_streams():
            print("größe 写真")
    assert (tmp_path / "out").read_bytes() == "größe \\u5199\\u771f\n".encode("cp1252")


def test_closed_streams_lead_nowhere(tmp_path):
    code = """
import os, sys
from cascade_rcnn.commands.streams import lasting_streams
with lasting_streams():
    with open(sys.argv[1], "w") as file:  # must not get the number of a standard stream
        print("out", flush=True)
        print("error", file=sys.stderr, flush=True)
        os.write(1, b"from C")
        file.write(f"{file.fileno() > 2} {sys.stdout.isatty()}")
"""
    shell = f'"$0" -c "$1" {tmp_path / "file"} <&- >&- 2>&-'
    assert subprocess.run(["sh", "-c", shell, sys.executable, code], check=False).returncode == 0
    assert (tmp_path / "file").read_text() == "True False"


def run(*arguments: str, out: int, error: int) -> int:
    command = [sys.executable, "-m", "cascade_rcnn", *arguments]
    return subprocess.run(command, stdout=out, stderr=error, check=False).returncode


@pytest.fixture
def unread_pipe():
    """Return the writing end of a pipe that nobody reads, and close it after the test."""
    writer = unread()
    yield writer
    os.close(writer)


def test_a_command_ends_quietly_if_nobody_reads_it(tmp_path, unread_pipe):
    error = tmp_path / "error"
    with error.open("w") as file:
        assert run("--help", out=unread_pipe, error=file.fileno()) == 0
    assert error.read_text() == ""


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
def test_a_command_whose_output_is_lost_fails_with_one_line(tmp_path):
    error = tmp_path / "error"
    with error.open("w") as file, FULL.open("w") as full:
        assert run("--version", out=full.fileno(), error=file.fileno()) == 1
    expected = "error: stdout: cannot be written (No space left on device); free some space, or redirect it elsewhere\n"
    assert error.read_text() == expected


def test_a_user_error_keeps_its_exit_code_without_readers(unread_pipe):
    assert run("evluate", out=unread_pipe, error=unread_pipe) == 2
