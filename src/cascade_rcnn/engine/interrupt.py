"""Ctrl-C, once: finish the step, save, end. Twice: end at once."""

import signal
from typing import Self


class Interrupted(Exception):  # noqa: N818  not an error: the user asked for it
    """The user stopped the training; its state is saved."""


class StopRequest:
    """Inside the block SIGINT (Ctrl-C) and SIGTERM (a scheduler) set `asked`; a second one interrupts."""

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: object) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        print("\nstopping after this step; once more to stop at once", flush=True)
