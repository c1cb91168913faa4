"""Run whole commands in separate processes, and kill or disturb them at a given moment.

A fork server imports everything once, so that commands start quickly.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

_PRELOAD = "benchmarks.torture.preload"


@dataclass(frozen=True, kw_only=True)
class Disturbance:
    """What to do to a command, and when."""

    renames: tuple[tuple[str, str], ...] = ()  # (file name, "before" or "after"): SIGKILL at the first that occurs
    seconds: float | None = None  # send `signal` after this time
    signal: int = signal.SIGKILL
    step: int | None = None  # before this training update ...
    action: Callable[..., None] | None = None  # ... call this function
    arguments: tuple[Any, ...] = ()  # with these arguments


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int  # negative: the signal
    out: str
    error: str
    seconds: float

    @property
    def lines(self) -> list[str]:
        """The lines on stderr, without notes and progress."""
        quiet = ("note: ", "epoch ", "evaluate ", "stages ")
        return [line for line in self.error.splitlines() if line.strip() and not line.startswith(quiet)]


class Commands:
    """Run commands, one at a time."""

    def __init__(self, folder: Path, timeout: float) -> None:
        self.folder, self.timeout = folder, timeout
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload([_PRELOAD])

    def run(self, *arguments: str, disturbance: Disturbance | None = None) -> Done:
        """Run `cascade-rcnn arguments`. Raises TimeoutError if it does not end."""
        out, error = self.folder / "stdout", self.folder / "stderr"
        started = time.monotonic()
        process = self.context.Process(
            target=_main,
            args=(arguments, str(out), str(error), disturbance or Disturbance(), str(self.folder / "mark")),
        )
        (self.folder / "mark").unlink(missing_ok=True)
        process.start()
        process.join(self.timeout)
        if process.exitcode is None:
            _kill_group(process)
            raise TimeoutError(f"{' '.join(arguments[:2])} did not end within {self.timeout:g} s")
        _kill_group(process)  # its workers
        took = time.monotonic() - started
        return Done(process.exitcode, out.read_text(errors="replace"), error.read_text(errors="replace"), took)

    @property
    def mark(self) -> tuple[str, str] | None:
        """The rename at which the last command was killed."""
        path = self.folder / "mark"
        if not path.exists():
            return None
        name, _, when = path.read_text().rpartition(" ")
        return name, when


def _kill_group(process: ForkServerProcess) -> None:
    assert process.pid is not None  # it was started
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _main(arguments: Sequence[str], out: str, error: str, disturbance: Disturbance, mark: str) -> None:
    """Run the command in the child as if it had been typed."""
    os.setsid()
    for path, number in ((out, 1), (error, 2)):
        descriptor = os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
        os.dup2(descriptor, number)
    sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
    warnings.resetwarnings()
    _arm(disturbance, mark)
    from cascade_rcnn.cli import main

    sys.argv = ["cascade-rcnn", *arguments]
    main(arguments)


def _arm(disturbance: Disturbance, mark: str) -> None:
    if disturbance.seconds is not None:
        timer = threading.Timer(disturbance.seconds, os.kill, (os.getpid(), disturbance.signal))
        timer.daemon = True
        timer.start()
    if disturbance.renames:
        os.replace, os.rename = (_dying(rename, disturbance.renames, mark) for rename in (os.replace, os.rename))
    if disturbance.step is not None:
        from cascade_rcnn.engine.training import optim

        rate = optim.learning_rate

        def disturbed(config: Any, step: int, *more: Any) -> float:
            if step == disturbance.step and disturbance.action is not None:
                disturbance.action(*disturbance.arguments)
            return rate(config, step, *more)

        optim.learning_rate = disturbed


def _dying(rename: Callable[..., None], deadly: tuple[tuple[str, str], ...], mark: str) -> Callable[..., None]:
    def renamed(source: Any, target: Any, **more: Any) -> None:
        for when in ("before", "after"):
            if when == "after":
                rename(source, target, **more)
            if (Path(target).name, when) in deadly:
                Path(mark).write_text(f"{Path(target).name} {when}")
                os.kill(os.getpid(), signal.SIGKILL)

    return renamed
