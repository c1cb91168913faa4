"""Logs of training metrics as CSV and TensorBoard files."""

import csv
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self, TextIO

from lightning_fabric.loggers.logger import Logger

from cascade_rcnn.engine.training.event_file import EventFile
from cascade_rcnn.errors import UserError
from cascade_rcnn.files import replacing, sync, unwritable


class MetricLog:
    """A log of numbers by step in `folder/name.csv` and, under the same names, in TensorBoard and the `loggers`.

    When it is opened at `step` (in a resumed run), later rows from before are dropped. A log that is not `active` (on
    all ranks but the first) writes nothing. Raises UserError if it cannot write, or if a row up to `step` is damaged.
    """

    def __init__(
        self, folder: Path, name: str, step: int, *, active: bool = True, loggers: Sequence[Logger] = ()
    ) -> None:
        self.path = folder / f"{name}.csv"
        self.name, self.active, self.loggers = name, active, loggers
        if not active:
            return
        kept = list(_until(step, _rows(self.path)))
        self.columns = list(kept[0]) if kept else []
        if self.path.exists():
            with replacing(self.path) as aside, aside.open("w", newline="") as file:
                self._write(file, kept, header=bool(kept))
        # In a folder of its own: `purge_step` makes readers drop later points of everything in the same folder.
        try:
            self.board = EventFile(folder / "tensorboard" / name, purge_step=step + 1)
        except OSError as error:
            raise unwritable(folder / "tensorboard", error) from None

    def add(self, step: int, values: dict[str, float]) -> None:
        """Append one row."""
        if not self.active:
            return
        row = {"step": float(step), **values}
        first = not self.columns
        self.columns = self.columns or list(row)
        named = {f"{self.name}/{key}": value for key, value in values.items()}
        try:
            with self.path.open("a", newline="") as file:
                self._write(file, [row], header=first)
            self.board.add(step, named)
        except OSError as error:
            raise unwritable(self.path, error) from None
        for logger in self.loggers:
            logger.log_metrics(named, step)

    def sync(self) -> None:
        """Wait until all rows are on disk."""
        if not self.active:
            return
        try:
            if self.path.exists():
                sync(self.path)
            self.board.sync()
        except OSError as error:
            raise unwritable(self.path, error) from None

    def _write(self, file: TextIO, rows: list[dict[str, float]], *, header: bool) -> None:
        writer = csv.DictWriter(file, self.columns)
        if header:
            writer.writeheader()
        writer.writerows({key: f"{value:.8g}" for key, value in row.items()} for row in rows)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.active:
            with suppress(OSError):  # any error has been reported before, and the metrics are in the CSV file
                self.board.close()


def read_csv(path: Path) -> list[dict[str, float]]:
    """Read the rows of a CSV file of numbers; none if there is no file. An incomplete last line is dropped.

    Raises UserError naming an invalid line.
    """
    return list(_rows(path))


def _rows(path: Path) -> Iterator[dict[str, float]]:
    try:
        lines = path.read_bytes().split(b"\n")[:-1]  # text after the last newline is incomplete
    except FileNotFoundError:
        return
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}); check the file") from None
    columns = lines[0].decode(errors="replace").strip().split(",") if lines else ["step"]
    if "step" not in columns:
        raise UserError(f"{path}: line 1 lacks the names of the columns; remove the file")
    for number, line in enumerate(lines[1:], start=2):
        try:
            yield dict(zip(columns, map(float, line.split(b",")), strict=True))
        except ValueError:
            raise UserError(f"{path}: line {number} is not a row of {len(columns)} numbers; remove it") from None


def _until(step: int, rows: Iterator[dict[str, float]]) -> Iterator[dict[str, float]]:
    """Yield the rows up to `step` without reading later ones, which a crash may have damaged."""
    while step > 0 and (row := next(rows, None)) is not None and row["step"] <= step:
        yield row
        if row["step"] == step:
            return
