"""The images that are yet to be processed, and their ids."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from cascade_rcnn.data import Annotations
from cascade_rcnn.engine.prediction.journal import Journal
from cascade_rcnn.evaluation.detections import FileNames
from cascade_rcnn.images.folders import Source, expand
from cascade_rcnn.text import storable


class Chosen(NamedTuple):
    """An image to process."""

    path: Path
    name: str  # in the results
    image_id: int
    stamp: tuple[int, int]  # size and modification time of its file


def names_of(paths: Sequence[str | Path], truth: Annotations | None) -> Iterator[str]:
    """Yield the names, in the results, of the images that `PendingImages` will yield or has as done.

    Raises UserError for a path without images, and for names that are ambiguous in `truth`.
    """
    ids = FileNames(truth) if truth is not None else None
    for _, real in _sources(paths, truth, Counter()):
        if ids is None or ids.find(real) is not None:
            yield storable(real)


def _sources(paths: Sequence[str | Path], truth: Annotations | None, left_out: Counter[str]) -> Iterator[Source]:
    if truth is None or paths:
        return expand(paths, left_out=left_out)
    return (Source(truth.path(i), truth.file_names[i]) for i in range(len(truth)))


class PendingImages:
    """An iterable, for a single pass, over the images that are not in the journal yet; it counts skipped ones."""

    def __init__(self, paths: Sequence[str | Path], truth: Annotations | None, journal: Journal) -> None:
        """Expand files, folders and patterns; without any, take the images of `truth`.

        Image ids are those in `truth`, or 1, 2, ... without it. Raises UserError for a path without images.
        """
        self._paths, self._truth, self._journal = paths, truth, journal
        self._ids = FileNames(truth) if truth is not None else None
        self._next = 1 + max((identity for _, identity, *_ in journal.done.values()), default=0)
        self.before = 0  # processed by earlier runs
        self.unnamed = 0  # not among the images of `truth`
        self.left_out = Counter[str]()  # unsupported, by suffix
        self.total, current = 0, set[str]()
        for path, real in _sources(paths, truth, Counter()):
            self.total += not self._is_done(real, _stamp(path))
            if (name := storable(real)) in journal.done and self._is_named(real):
                current.add(name)
        journal.keep(current)

    def __iter__(self) -> Iterator[Chosen]:
        for path, real in _sources(self._paths, self._truth, self.left_out):
            name, stamp = storable(real), _stamp(path)
            if self._is_done(real, stamp):
                self.before += 1
                continue
            identity = self._identity(real, name)
            if identity is None:
                self.unnamed += 1
            else:
                yield Chosen(path, name, identity, stamp)

    def _is_done(self, real: str, stamp: tuple[int, int]) -> bool:
        """Return whether the journal has the image, unchanged and with the id that `truth`, if any, gives it now."""
        return self._journal.has(storable(real), stamp) and self._is_named(real)

    def _is_named(self, real: str) -> bool:
        """Return whether `truth`, if any, has the image, with the id that the journal has."""
        return self._ids is None or self._ids.find(real) == self._journal.id_of(storable(real))

    def _identity(self, real: str, name: str) -> int | None:
        if self._ids is not None:
            return self._ids.find(real)
        identity = self._journal.id_of(name)
        if identity is None:
            identity, self._next = self._next, self._next + 1
        return identity


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns
