"""Ctrl-C, once: finish the step, save, end. Twice: end at once."""

import os
import signal
from contextlib import suppress
from typing import Self

# SIGHUP, which a closed terminal sends, does not exist on Windows.
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class Interrupted(Exception):  # noqa: N818  not an error: the user asked for it
    """The user stopped the training; its state is saved."""


class StopRequest:
    """Inside the block SIGINT (Ctrl-C), SIGTERM (a scheduler) and SIGHUP (a closed terminal) set `asked`.

    A second one interrupts. A signal that the process was started to ignore (nohup) stays ignored.
    """

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> Self:
        heard = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
        self._before = {number: signal.signal(number, self._ask) for number in heard}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: object) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        with suppress(OSError):  # the terminal may be gone
            os.write(1, b"\nstopping after this step; once more to stop at once\n")  # print may be what was interrupted
