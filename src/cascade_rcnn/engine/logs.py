"""What a training says while it runs: CSV and TensorBoard files, and a progress bar."""

import csv
import sys
import time
from pathlib import Path
from typing import Self, TextIO

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from cascade_rcnn.files import replacing


class MetricLog:
    """A table of numbers by step, in `folder/name.csv` and, under the same names, in TensorBoard.

    Opened at `step` (a resumed training), later rows of an earlier attempt are dropped. One that is not `active`
    (all ranks but the first) keeps nothing.
    """

    def __init__(self, folder: Path, name: str, step: int, *, active: bool = True) -> None:
        self.path = folder / f"{name}.csv"
        self.name, self.active = name, active
        if not active:
            return
        from torch.utils.tensorboard import SummaryWriter

        kept = [row for row in read_csv(self.path) if row["step"] <= step]
        self.columns = list(kept[0]) if kept else []
        if self.path.exists():
            with replacing(self.path) as aside, aside.open("w", newline="") as file:
                self._write(file, kept, header=bool(kept))
        self.board = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def add(self, step: int, values: dict[str, float]) -> None:
        """Append one row."""
        if not self.active:
            return
        row = {"step": float(step), **values}
        first = not self.columns
        self.columns = self.columns or list(row)
        with self.path.open("a", newline="") as file:
            self._write(file, [row], header=first)
        for key, value in values.items():
            self.board.add_scalar(f"{self.name}/{key}", value, step)

    def _write(self, file: TextIO, rows: list[dict[str, float]], *, header: bool) -> None:
        writer = csv.DictWriter(file, self.columns)
        if header:
            writer.writeheader()
        writer.writerows({key: f"{value:.8g}" for key, value in row.items()} for row in rows)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.active:
            self.board.close()


def read_csv(path: Path) -> list[dict[str, float]]:
    """Rows of numbers; none where there is no file. A torn last line is left out."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if None not in row.values() and None not in row]
    return [{key: float(value) for key, value in row.items()} for row in rows]


class ProgressBar:
    """Images done, loss, images/s and time left; on a terminal a bar, elsewhere a line every half minute or at the end.

    The time left is that of the whole training: of this bar's images and of `later` ones.
    """

    _SECONDS_BETWEEN_LINES = 30.0

    def __init__(self, title: str, total: int, *, shown: bool, later: int = 0) -> None:
        self.title, self.total, self.later, self.done = title, total, later, 0
        self.shown, self.live = shown, shown and sys.stderr.isatty()
        self.started = self.last_line = time.monotonic()
        self._bar = _bar(disable=not self.live)
        self._task = self._bar.add_task(title, total=total, text="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def advance(self, images: int, text: str) -> None:
        """`images` more are done; `text` says how it goes."""
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
    """As a reader rounds it: 40 s, 12 min, 3.5 h."""
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
