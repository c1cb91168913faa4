"""Detecting in files: a stream from paths to COCO results, pictures and other tools' forms.

Every image's result is on the disk before the next batch begins (`record.py`): nothing that was found is lost by what
happens later, and the same command goes on where an earlier one was stopped.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import PIL.Image
from torch import Tensor

from cascade_rcnn.config import Category
from cascade_rcnn.drawing import draw
from cascade_rcnn.engine.formats import Format, write_formats
from cascade_rcnn.engine.interrupt import Interrupted, StopRequest
from cascade_rcnn.engine.logs import ProgressBar
from cascade_rcnn.engine.record import Entry, Record
from cascade_rcnn.errors import UserError
from cascade_rcnn.evaluation.detections import Result
from cascade_rcnn.files import replacing
from cascade_rcnn.folders import Source
from cascade_rcnn.images import read_image
from cascade_rcnn.models.detector import to_numpy
from cascade_rcnn.results import to_supervision
from cascade_rcnn.text import count, printable

_SHOWN = 0.5  # what people look at (pictures, labelling tools) begins at this score, where no threshold is given

Detect = Callable[[list[Tensor]], list[dict[str, Tensor]]]  # torchvision's contract


@dataclass(frozen=True, kw_only=True)
class Job:
    """How to detect, and what to write."""

    categories: Sequence[Category]
    output: Path
    threshold: float | None = None  # None: detections.json holds all that the model finds, people are shown from .5 on
    batch_size: int = 1
    pictures: bool = True
    formats: Sequence[Format] = ()
    find_id: Callable[[str], int | None] | None = None  # image ids by name (None: left out); default: 1, 2, ...
    settings: dict[str, Any] = field(default_factory=dict)  # what else makes it the same command
    overwrite: bool = False
    report: Callable[[str], None] = lambda line: print(printable(line), file=sys.stderr)

    @property
    def shown(self) -> float:
        """The score from which on people are shown a detection."""
        return _SHOWN if self.threshold is None else self.threshold


class Counts(NamedTuple):
    """What came of the images."""

    done: int  # of this call
    before: int  # by earlier calls
    failed: int
    unnamed: int  # the annotations do not name them
    boxes: int  # in all images
    files: list[Path]


def predict_files(detect: Detect, sources: Iterable[Source], job: Job, total: int) -> Counts:
    """Detect in one batch after the other: `detections.json`, `images.jsonl` and `pictures/` in the output folder.

    Memory does not grow with the images, but for their names. An image that fails in whatever way is reported, noted in
    images.jsonl and left out. On Ctrl-C, SIGTERM or SIGHUP it finishes the batch, writes detections.json and raises
    Interrupted. Images that an earlier call with the same settings has done are not done again.
    """
    settings = job.settings | {"threshold": job.threshold, "pictures": job.pictures}
    with Record(job.output / "images.jsonl", settings, overwrite=job.overwrite) as record, StopRequest() as stop:
        tally = _Tally(record, job)
        chosen = tally.choose(sources)
        with ProgressBar("predict", max(1, total - len(record.done)), shown=True) as bar:
            while not stop.asked and (chunk := list(islice(chosen, job.batch_size))):
                entries = _detect(detect, chunk, job)
                record.add(entries)
                tally.add(entries)
                bar.advance(len(chunk), "")
        boxes = write_results(record, job)
        files = [job.output / "detections.json"]
        if not stop.asked:
            files += write_formats(job.formats, record, job.categories, job.output, job.shown)
    if stop.asked:
        raise Interrupted(
            f"stopped: {job.output / 'detections.json'} holds {count(tally.done + tally.before, 'image')}; the same "
            "command continues"
        )
    return Counts(tally.done, tally.before, tally.failed, tally.unnamed, boxes, files)


class _Chosen(NamedTuple):
    source: Source
    name: str
    image_id: int
    stamp: tuple[int, int]


class _Tally:
    """Which images are to be done, and how many are."""

    def __init__(self, record: Record, job: Job) -> None:
        self.record, self.job = record, job
        self.done = self.before = self.failed = self.unnamed = 0
        self._next = 1 + max((identity for _, identity, *_ in record.done.values()), default=0)

    def choose(self, sources: Iterable[Source]) -> Iterator[_Chosen]:
        """Those that are not done yet, lazily, with their ids."""
        for source in sources:
            name, stamp = printable(source.name), _stamp(source.path)
            if self.record.has(name, stamp):
                self.before += 1
                continue
            identity = self._identity(source.name, name)
            if identity is None:
                self.unnamed += 1
                continue
            yield _Chosen(source, name, identity, stamp)

    def _identity(self, real: str, name: str) -> int | None:
        if self.job.find_id is not None:
            return self.job.find_id(real)
        identity = self.record.id_of(name)
        if identity is None:
            identity, self._next = self._next, self._next + 1
        return identity

    def add(self, entries: list[Entry]) -> None:
        """Count them."""
        failed = sum(entry.error is not None for entry in entries)
        self.failed, self.done = self.failed + failed, self.done + len(entries) - failed


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


def _detect(detect: Detect, chunk: list[_Chosen], job: Job) -> list[Entry]:
    """The entries of a batch; where it fails as a whole, of its images one by one."""
    opened: list[tuple[_Chosen, Tensor]] = []
    entries: dict[str, Entry] = {}
    for one in chunk:
        try:
            opened.append((one, read_image(one.source.path)))
        except Exception as error:  # noqa: BLE001  whatever a file does to its decoder concerns that file alone
            entries[one.name] = _failure(one, error, job)
    for one, image, found in _found(detect, opened):
        if isinstance(found, Exception):
            entries[one.name] = _failure(one, found, job)
        else:
            entries[one.name] = _entry(one, image, found, job)
    return [entries[one.name] for one in chunk]


def _found(
    detect: Detect, opened: list[tuple[_Chosen, Tensor]]
) -> list[tuple[_Chosen, Tensor, dict[str, Tensor] | Exception]]:
    try:
        found: list[Any] = detect([image for _, image in opened]) if opened else []
    except Exception as error:  # noqa: BLE001  memory that one large image takes, for example
        if len(opened) > 1:
            return [row for one in opened for row in _found(detect, [one])]
        found = [error]
    return [(one, image, result) for (one, image), result in zip(opened, found, strict=True)]


def _failure(one: _Chosen, error: Exception, job: Job) -> Entry:
    text = str(error) if isinstance(error, UserError) else f"{one.source.path}: {type(error).__name__} ({_line(error)})"
    job.report(f"skipped: {text}")
    return Entry(file_name=one.name, image_id=one.image_id, stamp=one.stamp, error=printable(text))


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no more is known"])[0]


def _entry(one: _Chosen, image: Tensor, found: dict[str, Tensor], job: Job) -> Entry:
    if job.threshold is not None:
        found = {name: column[found["scores"] >= job.threshold] for name, column in found.items()}
    if job.pictures:
        try:
            names = [category.name for category in job.categories]
            shown = to_supervision(to_numpy(found), names, job.shown)
            _save_picture(draw(image.permute(1, 2, 0).numpy(), shown), job.output / "pictures" / one.source.name)
        except Exception as error:  # noqa: BLE001  a name too long for the disk, for example
            job.report(f"no picture of {one.source.path}: {_line(error)}")
    # In float64 from here on, as evaluation has it: the figures of the file are the figures of the model.
    boxes = found["boxes"].double()
    boxes[:, 2:] -= boxes[:, :2]
    return Entry(
        file_name=one.name,
        image_id=one.image_id,
        stamp=one.stamp,
        height=image.shape[1],
        width=image.shape[2],
        boxes=[(x, y, w, h) for x, y, w, h in boxes.tolist()],
        scores=found["scores"].double().tolist(),
        category_ids=[job.categories[label - 1].id for label in found["labels"].tolist()],
    )


def _save_picture(picture: PIL.Image.Image, path: Path) -> None:
    """Under the image's own name; what is neither JPEG nor PNG becomes PNG."""
    jpeg = path.suffix.lower() in (".jpg", ".jpeg")
    path = path if jpeg or path.suffix.lower() == ".png" else path.with_name(f"{path.name}.png")
    with replacing(path) as aside:
        picture.save(aside, **({"format": "JPEG", "quality": 92} if jpeg else {"format": "PNG"}))


def write_results(record: Record, job: Job) -> int:
    """`detections.json` from the record, whole or not at all; the number of detections."""
    names = {category.id: category.name for category in job.categories}
    number = 0
    with replacing(job.output / "detections.json") as aside, aside.open("wb") as file:
        file.write(b"[")
        for entry in record.entries():
            for box, score, category in zip(entry.boxes, entry.scores, entry.category_ids, strict=True):
                row = Result(box, score, entry.image_id, entry.file_name, category, names[category])
                file.write((b",\n" if number else b"\n") + msgspec.json.encode(row))
                number += 1
        file.write(b"\n]\n")
    return number
