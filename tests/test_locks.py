"""A folder has a single writer."""

import os

import pytest

from cascade_rcnn.errors import UserError
from cascade_rcnn.locks import locked


def in_another_process(run) -> str:
    """Return what `run` returns in a forked process, or the line of its UserError."""
    here, there = os.pipe()
    child = os.fork()
    if not child:
        try:
            said = run()
        except UserError as error:
            said = str(error)
        os.write(there, said.encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(there)
    with os.fdopen(here) as answer:
        return answer.read()


def test_a_folder_has_one_writer(tmp_path):
    def lock() -> str:
        with locked(tmp_path / "run"):
            return "locked"

    with locked(tmp_path / "run"):
        said = in_another_process(lock)
        assert said.startswith(f"{tmp_path / 'run'}: another process ({os.getpid()} on ")
        assert "\n" not in said
        in_another_process(lambda: "a child that ends does not open the lock")
        assert "another process" in in_another_process(lock)
    assert in_another_process(lock) == "locked"


def test_the_lock_of_a_killed_process_is_gone_though_its_children_live(tmp_path):
    ready, go = os.pipe()
    child = os.fork()
    if not child:
        with locked(tmp_path):
            if not os.fork():  # like a process that decodes images
                os.read(ready, 1)
                os._exit(0)
            os._exit(0)  # without a chance to unlock
    os.waitpid(child, 0)
    with locked(tmp_path):
        pass
    os.write(go, b"x")


def test_a_folder_that_cannot_be_locked_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"), locked(tmp_path / "file"):
        pass
