"""The worker processes of a data loader, which end with the process that started them."""

import atexit
import errno
import multiprocessing
import signal
import threading
from collections.abc import Iterator, Sequence
from multiprocessing.process import BaseProcess
from multiprocessing.util import Finalize
from typing import Any

from torch.utils.data import DataLoader

from cascade_rcnn.errors import UserError

_NOT_STARTED = (
    "a data loading process could not start (its error is printed above); put the code of a script below "
    '`if __name__ == "__main__":` and classes of a notebook into a module, or use --workers 0 (workers=0)'
)


class WorkerLoader(DataLoader):
    """A DataLoader that says in one line why a batch of its workers is lost."""

    def __iter__(self) -> Iterator[Any]:  # pyright: ignore[reportIncompatibleMethodOverride]
        batches = self._start()
        while True:
            try:
                batch = next(batches, None)
            except (RuntimeError, OSError, EOFError) as error:
                if (lost := _lost(error, getattr(batches, "_workers", ()))) is None:
                    raise
                raise lost from None
            if batch is None:
                return
            yield batch

    def _start(self) -> Iterator[Any]:
        """Start the workers and return an iterator over their batches, which raises if one of them dies.

        torch's SIGCHLD handler is removed: it would raise wherever the main thread happens to be, such as in the middle
        of an update, or at the end of the program, when workers are killed deliberately.
        """
        running = getattr(self, "_iterator", None) is not None
        check_first_run()
        if threading.current_thread() is threading.main_thread() and hasattr(signal, "SIGCHLD"):
            handler = signal.getsignal(signal.SIGCHLD)
            batches = self._iterate()
            signal.signal(signal.SIGCHLD, handler)
        else:
            batches = self._iterate()
        if not running and self.num_workers:
            # Before torch's functions at exit, and before multiprocessing waits for its processes (priority 0 or more).
            atexit.register(Finalize(batches, _kill, (batches._workers,), exitpriority=1))  # pyright: ignore
        return batches

    def _iterate(self) -> Iterator[Any]:
        try:
            return super().__iter__()
        except (EOFError, ConnectionError):  # of the process that starts the others, which has run the script first
            raise UserError(_NOT_STARTED) from None


def check_first_run() -> None:
    """Raise UserError where a process that a script has started runs the script again, as it is not guarded.

    All start methods but fork do this: spawn, the default on Windows and macOS, and forkserver, elsewhere that of
    Python 3.14.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise UserError(
            "this script is run again by each process that it starts; put its code below "
            '`if __name__ == "__main__":`, or use --workers 0 (workers=0)'
        )


def _lost(error: Exception, workers: Sequence[BaseProcess]) -> UserError | None:
    """Return a UserError if a batch was lost because its process died, or too many files were open; else None."""
    if "DataLoader worker" in str(error):
        if any((worker.exitcode or 0) > 0 for worker in workers):  # not killed
            return UserError(_NOT_STARTED)
        return UserError("a data loading process has died (killed, or out of memory); use fewer --workers (0: none)")
    if isinstance(error, EOFError) or "ancdata" in str(error) or getattr(error, "errno", None) == errno.EMFILE:
        return UserError("too many open files; raise the limit (`ulimit -n 4096`), or use fewer --workers (0: none)")
    return None


def _kill(workers: Sequence[BaseProcess]) -> None:
    """Kill workers that are left when their iterator is gone, or when this process ends.

    They ignore SIGTERM, with which torch and multiprocessing end a worker that does not stop by itself: the process
    would wait for it.
    """
    for worker in workers:
        worker.kill()


def ignore_signals(_: int) -> None:
    """Ignore signals in workers: Ctrl-C reaches all processes, but training still needs workers to finish its step."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):  # Windows has no SIGHUP
            signal.signal(getattr(signal, name), signal.SIG_IGN)
