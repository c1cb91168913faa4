"""The images that are yet to be processed, and their ids."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from cascade_rcnn.data import Annotations
from cascade_rcnn.data.splits import splits_of
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
    ids = _Ids(truth) if truth is not None else None
    for source in _sources(paths, truth, Counter()):
        if ids is None or ids.find(source) is not None:
            yield storable(source.name)


def _sources(paths: Sequence[str | Path], truth: Annotations | None, left_out: Counter[str]) -> Iterator[Source]:
    if truth is None or paths:
        return expand(paths, left_out=left_out)
    return (Source(truth.path(i), truth.file_names[i]) for i in range(len(truth)))


class _Ids:
    """The ids of images in annotations, by their names."""

    def __init__(self, truth: Annotations) -> None:
        self._names = FileNames(truth)
        self._splits = {image: _split_of(truth.path(i)) for i, image in enumerate(truth.image_ids.tolist())}

    def find(self, source: Source) -> int | None:
        """Return the id of an image, None if the annotations lack it; see `FileNames.find`.

        Data whose splits number their images alike has val/1.jpg and train/1.jpg, which are not the same image.
        """
        image = self._names.find(source.name)
        if image is None:
            return None
        given, annotated = _split_of(source.path), self._splits[image]
        return None if given and annotated and given != annotated else image


def _split_of(path: Path) -> frozenset[int]:
    """Return the split that the folder of an image is named for, if any."""
    return splits_of([path.absolute().parent.name])


class PendingImages:
    """An iterable, for a single pass, over the images that are not in the journal yet; it counts skipped ones."""

    def __init__(self, paths: Sequence[str | Path], truth: Annotations | None, journal: Journal) -> None:
        """Expand files, folders and patterns; without any, take the images of `truth`.

        Image ids are those in `truth`, or 1, 2, ... without it. Raises UserError for a path without images.
        """
        self._paths, self._truth, self._journal = paths, truth, journal
        self._ids = _Ids(truth) if truth is not None else None
        self._next = 1 + max((identity for _, identity, *_ in journal.done.values()), default=0)
        self.before = 0  # processed by earlier runs
        self.unnamed = 0  # not among the images of `truth`
        self.left_out = Counter[str]()  # unsupported, by suffix
        self.total, current = 0, set[str]()
        for source in _sources(paths, truth, Counter()):
            name = storable(source.name)
            if name in journal.done and self._id_of(source) == journal.id_of(name):
                current.add(name)
            self.total += not (name in current and journal.has(name, _stamp(source.path)))
        journal.keep(current)

    def __iter__(self) -> Iterator[Chosen]:
        for source in _sources(self._paths, self._truth, self.left_out):
            name, identity, stamp = storable(source.name), self._id_of(source), _stamp(source.path)
            if self._journal.has(name, stamp) and identity == self._journal.id_of(name):
                self.before += 1
            elif identity is not None:
                yield Chosen(source.path, name, identity, stamp)
            elif self._ids is not None:
                self.unnamed += 1
            else:
                yield Chosen(source.path, name, self._next, stamp)
                self._next += 1

    def _id_of(self, source: Source) -> int | None:
        """Return the id that `truth` gives an image or, without it, the journal; None if there is none yet."""
        return self._journal.id_of(storable(source.name)) if self._ids is None else self._ids.find(source)


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns
