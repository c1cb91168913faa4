"""Detection in files: a stream from paths to COCO results, annotated images and other tools' formats.

Every result is on disk before the next batch starts (`journal.py`): later failures lose nothing, and running the same
command again resumes an interrupted one.
"""

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import PIL.Image
from torch import Tensor

from cascade_rcnn.config import Category
from cascade_rcnn.data import Annotations
from cascade_rcnn.data.segmentations import run_lengths
from cascade_rcnn.drawing import draw
from cascade_rcnn.engine.interrupt import Interrupted, StopRequest
from cascade_rcnn.engine.prediction.journal import Entry, Journal
from cascade_rcnn.engine.prediction.labelling import Format, write_formats
from cascade_rcnn.engine.prediction.pending_images import Chosen, PendingImages
from cascade_rcnn.engine.progress import ProgressBar
from cascade_rcnn.errors import UserError
from cascade_rcnn.evaluation.detections import Result
from cascade_rcnn.files import NoRoomError, remove_leftovers, replacing
from cascade_rcnn.folders import JOURNAL, PICTURES
from cascade_rcnn.images import read_image
from cascade_rcnn.models.detector import to_numpy
from cascade_rcnn.results import to_supervision
from cascade_rcnn.text import count, printable

_SHOWN = 0.5  # default threshold of output for people (pictures, labelling tools)

Detect = Callable[[list[Tensor]], list[dict[str, Any]]]  # torchvision's contract, with masks encoded


@dataclass(frozen=True, kw_only=True)
class PredictionJob:
    """The images, settings and outputs of a prediction."""

    paths: Sequence[str | Path] = ()  # images, folders, glob patterns; empty: the images of `truth`
    truth: Annotations | None = None  # provides image ids by name, other images are skipped; None: ids are 1, 2, ...
    categories: Sequence[Category]
    output: Path
    threshold: float | None = None  # None: no threshold for detections.json, 0.5 for output for people
    batch_size: int = 1
    pictures: bool = True
    formats: Sequence[Format] = ()
    settings: dict[str, Any] = field(default_factory=dict)  # further settings that must be the same to resume
    overwrite: bool = False
    report: Callable[[str], None] = lambda line: print(printable(line), file=sys.stderr)

    @property
    def shown(self) -> float:
        """The minimum score of detections in output for people."""
        return _SHOWN if self.threshold is None else self.threshold


@dataclass
class PredictionSummary:
    """The number of images and detections by outcome."""

    done: int = 0  # by this call
    before: int = 0  # by earlier calls
    failed: int = 0
    unnamed: int = 0  # not in the annotations
    left_out: Counter[str] = field(default_factory=Counter)  # unsupported formats
    boxes: int = 0  # in all images
    files: list[Path] = field(default_factory=list)

    def __str__(self) -> str:
        before = f" ({self.before} of them by earlier runs)" if self.before else ""
        places = ", ".join(str(path) for path in self.files)
        return f"{count(self.done + self.before, 'image')}{before}, {count(self.boxes, 'detection')}: {places}"

    @property
    def notes(self) -> list[str]:
        """Return a line for each kind of image that was skipped."""
        kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(self.left_out.items()))
        unread = [f"skipped, unsupported formats: {kinds}; convert them to JPEG or PNG"] if kinds else []
        unnamed = f"skipped, not in the annotations: {count(self.unnamed, 'image')}"
        return [*unread, *([unnamed] if self.unnamed else [])]


def detect_in_files(detect: Detect, job: PredictionJob) -> PredictionSummary:
    """Detect batch by batch; writes `detections.json`, `images.jsonl` and `pictures/` to the output folder.

    Memory does not grow with the number of images, except for their names. An image that fails in any way is reported,
    recorded in images.jsonl and skipped. On Ctrl-C, SIGTERM or SIGHUP, it finishes the batch, writes detections.json
    and raises Interrupted. Images processed by an earlier call with the same settings are not processed again.
    """
    paths = [printable(str(path)) for path in job.paths]
    settings = job.settings | {"paths": paths, "threshold": job.threshold, "pictures": job.pictures}
    summary = PredictionSummary()
    with Journal(job.output / JOURNAL, settings, overwrite=job.overwrite) as journal, StopRequest() as stop:
        remove_leftovers(job.output)  # of a killed run
        pending = PendingImages(job.paths, job.truth, journal)
        try:
            _run(detect, job, pending, journal, summary, stop)
        except OSError:
            if not stop.asked:  # otherwise, the terminal with the progress bar may be gone
                raise
        summary.before, summary.unnamed, summary.left_out = pending.before, pending.unnamed, pending.left_out
        summary.boxes = write_results(journal, job)
        summary.files = [job.output / "detections.json", *([job.output / PICTURES] if job.pictures else [])]
        if stop.asked:
            done = count(summary.done + summary.before, "image")
            raise Interrupted(f"stopped: {summary.files[0]} contains {done}; run the same command to continue")
        summary.files += write_formats(job.formats, journal, job.categories, job.output, job.shown)
    return summary


def _run(
    detect: Detect,
    job: PredictionJob,
    pending: PendingImages,
    journal: Journal,
    summary: PredictionSummary,
    stop: StopRequest,
) -> None:
    chosen = iter(pending)
    with ProgressBar("predict", pending.total, shown=True) as bar:
        while not stop.asked and (chunk := list(islice(chosen, job.batch_size))):
            entries = _detect(detect, chunk, job)
            journal.add(entries)
            summary.failed += sum(entry.error is not None for entry in entries)
            summary.done += sum(entry.error is None for entry in entries)
            bar.advance(len(chunk), "")


def _detect(detect: Detect, chunk: list[Chosen], job: PredictionJob) -> list[Entry]:
    """Return the entries of a batch; if it fails as a whole, process its images one by one."""
    opened: list[tuple[Chosen, Tensor]] = []
    entries: dict[str, Entry] = {}
    for one in chunk:
        try:
            opened.append((one, read_image(one.path)))
        except Exception as error:  # noqa: BLE001  any decoder error concerns only that file
            entries[one.name] = _failure(one, error, job)
    for one, image, found in _found(detect, opened):
        if isinstance(found, Exception):
            entries[one.name] = _failure(one, found, job)
        else:
            entries[one.name] = _entry(one, image, found, job)
    return [entries[one.name] for one in chunk]


def _found(
    detect: Detect, opened: list[tuple[Chosen, Tensor]]
) -> list[tuple[Chosen, Tensor, dict[str, Any] | Exception]]:
    try:
        found: list[Any] = detect([image for _, image in opened]) if opened else []
    except Exception as error:  # noqa: BLE001  for example, a large image may exhaust memory
        if len(opened) > 1:
            return [row for one in opened for row in _found(detect, [one])]
        found = [error]
    return [(one, image, result) for (one, image), result in zip(opened, found, strict=True)]


def _failure(one: Chosen, error: Exception, job: PredictionJob) -> Entry:
    text = str(error) if isinstance(error, UserError) else f"{one.path}: {type(error).__name__} ({_line(error)})"
    job.report(f"skipped: {text}")
    return Entry(file_name=one.name, image_id=one.image_id, stamp=one.stamp, error=printable(text))


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no details"])[0]


def _entry(one: Chosen, image: Tensor, found: dict[str, Any], job: PredictionJob) -> Entry:
    if job.threshold is not None:
        found = {name: column[found["scores"] >= job.threshold] for name, column in found.items()}
    if job.pictures:
        try:
            names = [category.name for category in job.categories]
            shown = to_supervision(to_numpy(found), names, job.shown)
            _save_picture(draw(image.permute(1, 2, 0).numpy(), shown), job.output / PICTURES / one.name)
        except NoRoomError:  # neither for other pictures nor for results
            raise
        except Exception as error:  # noqa: BLE001  for example, a name that is too long
            job.report(f"no picture of {one.path}: {_line(error)}")
    # float64 from here on, as in evaluation, so that the file has the same metrics as the model.
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
        masks=[mask["counts"].decode() for mask in run_lengths(found["masks"])] if "masks" in found else [],
    )


def _save_picture(picture: PIL.Image.Image, path: Path) -> None:
    """Save a picture under the image's own name; formats other than JPEG and PNG become PNG."""
    jpeg = path.suffix.lower() in (".jpg", ".jpeg")
    path = path if jpeg or path.suffix.lower() == ".png" else path.with_name(f"{path.name}.png")
    with replacing(path) as aside:
        picture.save(aside, **({"format": "JPEG", "quality": 92} if jpeg else {"format": "PNG"}))


def write_results(journal: Journal, job: PredictionJob) -> int:
    """Write `detections.json` from the journal, atomically; returns the number of detections."""
    names = {category.id: category.name for category in job.categories}
    number = 0
    with replacing(job.output / "detections.json") as aside, aside.open("wb") as file:
        file.write(b"[")
        for entry in journal.entries():
            for box, score, category, outline in entry.rows():
                row = Result(box, score, entry.image_id, entry.file_name, category, names[category], outline)
                file.write((b",\n" if number else b"\n") + msgspec.json.encode(row))
                number += 1
        file.write(b"\n]\n")
    return number
