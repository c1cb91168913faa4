"""Display of progress: a bar on terminals, and occasional lines elsewhere."""

import sys
import time
from typing import Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


class ProgressBar:
    """A display of images done, loss, images/s and time left: a bar on terminals, elsewhere a line every 30 s.

    The time left is that of the images of this bar and, in training, of `later` images in the following epochs.
    """

    _SECONDS_BETWEEN_LINES = 30.0

    def __init__(self, title: str, total: int, *, shown: bool, later: int = 0) -> None:
        self.title, self.total, self.later, self.done = title, total, later, 0
        self.shown, self.live = shown, shown and sys.stderr.isatty()
        self.started = self.last_line = time.monotonic()
        self._bar = _bar(disable=not self.live)
        self._task = self._bar.add_task(title, total=total, text="")

    def __enter__(self) -> Self:
        if self.live:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live:  # before rich 14.3, even a disabled bar ends with an empty line
            self._bar.stop()

    def advance(self, images: int, text: str) -> None:
        """Advance by a number of images, and show `text` as the status."""
        self.done += images
        now = time.monotonic()
        rate = self.done / max(1e-9, now - self.started)
        left = (self.total - self.done + self.later) / rate
        text = f"{text}  {rate:.1f} images/s  {_duration(left)} left".strip()
        self._bar.update(self._task, advance=images, text=text)
        due = now - self.last_line >= self._SECONDS_BETWEEN_LINES or self.done == self.total
        if self.shown and not self.live and due:
            self.last_line = now
            print(f"{self.title}  {self.done}/{self.total}  {text}", file=sys.stderr, flush=True)


def _duration(seconds: float) -> str:
    """Format a duration, such as 40 s, 12 min or 3.5 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _bar(*, disable: bool) -> Progress:
    from rich.console import Console

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[text]}"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        disable=disable,
        transient=False,
    )
