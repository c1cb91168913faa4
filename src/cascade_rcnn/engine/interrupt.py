"""Signals that ask a process to stop: Ctrl-C, SIGTERM from a scheduler, and SIGHUP from a closing terminal."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Self

# SIGHUP, sent by a closing terminal, does not exist on Windows.
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class Interrupted(Exception):  # noqa: N818  not an error: the user asked for it
    """Raised when Ctrl-C or a scheduler's SIGTERM stops a run; its progress is saved, and the same call continues it.

    >>> try:
    ...     result = train("recipe.json", data="shapes", output="runs/stopped", epochs=1)
    ... except Interrupted as stop:
    ...     print(stop)  # ... add --resume (resume=True) to continue
    """


class StopRequest:
    """A context in which a signal only sets `asked`, so that the current step can finish.

    A second Ctrl-C raises KeyboardInterrupt. Other signals may come twice, from a scheduler and from the launcher that
    it started.
    """

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> Self:
        self._before = _handle(self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        _restore(self._before)

    def _ask(self, number: int, frame: object) -> None:
        repeated, self.asked = self.asked, True
        if number != signal.SIGINT:
            return
        if repeated:
            raise KeyboardInterrupt
        with suppress(OSError):  # the terminal may be gone
            line = b"\nstopping after this step; press Ctrl-C again to stop immediately\n"
            os.write(1, line)  # print may be interrupted


@contextmanager
def ending_cleanly() -> Iterator[None]:
    """Turn the signals into KeyboardInterrupt inside the block, so that partial files are removed."""
    before = _handle(_interrupt)
    try:
        yield
    finally:
        _restore(before)


@contextmanager
def deaf() -> Iterator[None]:
    """Ignore Ctrl-C inside the block; processes started there inherit this. Without effect in other threads."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _handle(handler: Callable[[int, Any], None]) -> dict[int, Any]:
    """Set a handler for the signals and return the previous ones. Signals that nohup ignores remain ignored."""
    heard = [n for n in SIGNALS if n == signal.SIGINT or signal.getsignal(n) != signal.SIG_IGN]
    try:
        return {n: signal.signal(n, handler) for n in heard}
    except ValueError:  # not in the main thread, which receives signals
        return {}


def _restore(before: dict[int, Any]) -> None:
    for number, handler in before.items():
        signal.signal(number, handler)
