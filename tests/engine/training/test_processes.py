"""Processes of one training run stop each other, with a single line."""

import os
import signal
import subprocess
import sys
import time
import types

import pytest

from cascade_rcnn.engine.training import processes
from cascade_rcnn.errors import UserError

PROGRAM = """
import subprocess, sys, threading, time
from cascade_rcnn.engine.training import processes
processes.PATIENCE = 0.2
commands = {commands}
started = [subprocess.Popen(["/bin/sh", "-c", command]) for command in commands]
print(*(rank.pid for rank in started), flush=True)
threading.Thread(target=processes._watch, args=(started, threading.Event()), daemon=True).start()
time.sleep({wait})
"""


def watch(*commands: str, wait: float = 250) -> subprocess.CompletedProcess[str]:
    program = PROGRAM.format(commands=commands, wait=wait)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=280)


@pytest.mark.parametrize(
    ("command", "how"), [("kill -9 $$", "this training run was killed by signal 9"), ("exit 3", "exit code 3")]
)
def test_one_that_dies_ends_all_with_one_line(command, how):
    done = watch("exec sleep 250", command)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: process 2 of this training")
    assert how in done.stderr
    other = int(done.stdout.split()[0])
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and alive(other):
        time.sleep(0.05)
    assert not alive(other)


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


OUTLIVED = """
import atexit, os, sys, time
from cascade_rcnn.engine.training import processes
if "LOCAL_RANK" in os.environ:
    time.sleep(250)
atexit.register(time.sleep, 1)  # it takes a while until this process is gone
sys.modules["__main__"].__file__, sys.argv = "program", ["-c", os.environ["PROGRAM"]]
processes.start(2, externally=False)
time.sleep(0.5)
"""


def test_the_first_process_may_end_before_the_others(monkeypatch):
    """It ends them itself, which is no reason for an error."""
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setenv("PROGRAM", OUTLIVED)
    done = subprocess.run([sys.executable, "-c", OUTLIVED], capture_output=True, text=True, timeout=200)
    assert (done.returncode, done.stderr) == (0, "")


def test_nothing_is_printed_when_all_end_well():
    done = watch("true", "true", wait=0.5)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_first_process_is_known_by_its_rank(monkeypatch):
    for name in ("RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert processes.is_first()
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert not processes.is_first()
    monkeypatch.setenv("RANK", "0")
    assert processes.is_first()


def test_the_number_of_processes_on_this_machine(monkeypatch):
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    assert processes.on_this_machine(3) == 3
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert processes.on_this_machine(1) == 2


def test_the_number_of_processes_of_the_whole_run(monkeypatch):
    for name in ("LOCAL_WORLD_SIZE", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert processes.of_the_run(3) == 3
    monkeypatch.setenv("WORLD_SIZE", "8")  # by itself, it is somebody else's
    assert processes.of_the_run(3) == 3
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert processes.of_the_run(1) == 8


def test_where_something_else_starts_the_processes_nothing_is_started(monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", None)
    processes.start(4, externally=True)
    monkeypatch.setenv("CASCADE_RCNN_PARENT", "1")  # started by a process that is no longer its parent
    processes.start(4, externally=False)


@pytest.mark.parametrize("rank", [1, 2])
def test_a_rank_ends_with_the_first_process_and_one_says_so(rank):
    # 1 is not its parent
    program = "from cascade_rcnn.engine.training import processes; processes._follow(1); print('went on')"
    environment = os.environ | {"LOCAL_RANK": str(rank)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=250, env=environment)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "")
    assert done.stderr.count("error: process 0 of this training run was killed; ") == (rank == 1)
    assert done.stderr.count("\n") == (rank == 1)


def test_a_notebook_cannot_be_started_once_more(monkeypatch):
    monkeypatch.setitem(sys.modules, "__main__", types.ModuleType("__main__"))
    monkeypatch.setattr(os, "environ", dict(os.environ))
    with pytest.raises(UserError, match="training on several devices starts this program"):
        processes.start(2, externally=False)
    assert "MASTER_PORT" not in os.environ
