r"""The record of `predict`: `images.jsonl`, with one line per image, appended and synced to disk after every batch.

The first line contains the settings, so that only the same command can resume. If an image has several lines, since it
could not be read or has changed, the last one counts; an incomplete line is dropped.
"""

import os
from collections.abc import Collection, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
import numpy as np

from cascade_rcnn.errors import UserError
from cascade_rcnn.evaluation.detections import Box
from cascade_rcnn.locks import lock_file


class Entry(msgspec.Struct, omit_defaults=True, kw_only=True):
    """The detections in an image, as columns of equal length, or the reason why there are none."""

    file_name: str
    image_id: int
    stamp: tuple[int, int] = (0, 0)  # size and modification time of the file
    height: int = 0
    width: int = 0
    boxes: list[Box] = []  # x, y, width, height
    scores: list[float] = []
    category_ids: list[int] = []
    track_ids: list[int | None] = []  # in a tracked video; None: no track (yet)
    time: float | None = None  # seconds from the beginning of a video
    masks: list[str] = []  # compressed run lengths in COCO's format; empty if the model has no masks
    error: str | None = None


class _Header(msgspec.Struct):
    settings: dict[str, Any]
    format: int = 1


_BEGINNING = b'{"settings":'


def _plain(value: Any) -> Any:
    """Return NumPy's numbers and arrays, which users may give as settings, as Python's."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is not a setting")


class Journal:
    """The images processed so far, by name, recorded in a file."""

    def __init__(self, path: Path, settings: dict[str, Any], *, overwrite: bool = False) -> None:
        """Open or create the file; `overwrite` starts over.

        Raises UserError if another command has written or is writing it, or if it is not writable.
        """
        self.path = path
        self.done: dict[str, tuple[int, int, tuple[int, int], bool]] = {}  # name -> file position, id, stamp, success
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a+b")  # never truncates: the file may be another process's, which has the lock
            self._file.seek(0)
        except OSError as error:
            raise self._unwritable(error) from None
        try:
            if not lock_file(self._file):
                raise UserError(f"{self.path.parent}: another predict is writing there; choose another --output")
            settings = msgspec.json.decode(msgspec.json.encode(settings, enc_hook=_plain))
            if overwrite or not self._read(settings):
                self._file.truncate(0)
                self._write([_Header(settings)])
        except UserError:
            self._file.close()
            raise

    def _read(self, settings: dict[str, Any]) -> bool:
        """Read the existing entries; return False if the file is empty."""
        line = self._file.readline()
        if _BEGINNING.startswith(line[: len(_BEGINNING)]) and not line.endswith(b"\n"):
            return False  # empty or truncated
        try:
            before = msgspec.json.decode(line, type=_Header).settings
            for name in sorted(before.keys() | settings.keys()):
                # Unset is not None: `min_size` None turns resizing off.
                if (then := before.get(name, "unset")) != (now := settings.get(name, "unset")):
                    raise UserError(
                        f"{self.path.parent}: has the results of another command ({name} {then}, not {now}); choose "
                        "another --output, or add --overwrite"
                    )
            place = self._file.tell()
            while (line := self._file.readline()).endswith(b"\n"):
                self._note(msgspec.json.decode(line, type=Entry), place)
                place = self._file.tell()
        except msgspec.MsgspecError as error:
            raise UserError(
                f"{self.path}: not a record of `predict` ({error}); choose another --output, or add --overwrite"
            ) from None
        self._file.truncate(place)
        return True

    def _note(self, entry: Entry, place: int) -> None:
        self.done[entry.file_name] = place, entry.image_id, entry.stamp, entry.error is None

    def entry(self, name: str) -> Entry:
        """Read the entry of an image."""
        self._file.seek(self.done[name][0])
        return msgspec.json.decode(self._file.readline(), type=Entry)

    def has(self, name: str, stamp: tuple[int, int]) -> bool:
        """Return whether an image has been processed successfully, and its file is unchanged."""
        return name in self.done and self.done[name][2:] == (stamp, True)

    @property
    def number(self) -> int:
        """The number of images that have been processed successfully."""
        return sum(success for *_, success in self.done.values())

    def id_of(self, name: str) -> int | None:
        """Return the id of an image, None if it has not been processed."""
        return self.done[name][1] if name in self.done else None

    def keep(self, names: Collection[str]) -> None:
        """Leave out the entries of all other images. They stay in the file, in case their images come back."""
        self.done = {name: one for name, one in self.done.items() if name in names}

    def add(self, entries: list[Entry]) -> None:
        """Append entries and sync them to disk. Raises UserError if they cannot be written."""
        for entry, place in zip(entries, self._write(entries), strict=True):
            self._note(entry, place)

    def _write(self, lines: list[Any]) -> list[int]:
        try:
            place = self._file.seek(0, os.SEEK_END)
            encoded = [msgspec.json.encode(line) + b"\n" for line in lines]
            self._file.write(b"".join(encoded))
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._unwritable(error) from None
        return [place + sum(map(len, encoded[:k])) for k in range(len(encoded))]

    def entries(self) -> Iterator[Entry]:
        """Yield the entries, including those of failed images, ordered by id."""
        for name in sorted(self.done, key=lambda name: self.done[name][1]):
            yield self.entry(name)

    def _unwritable(self, error: OSError) -> UserError:
        return UserError(f"{self.path}: cannot be written ({error.strerror or error}); results so far are kept")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            self._file.close()
        except OSError:  # a full disk rejects the buffered data again
            return
