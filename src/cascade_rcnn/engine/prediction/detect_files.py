"""Detection in image files, which writes COCO results, annotated images and the formats of other tools.

Results are on disk before the next batch starts (`journal.py`): a later failure loses nothing, and running the same
command again continues an interrupted one.
"""

from itertools import islice
from pathlib import Path

import PIL.Image
from torch import Tensor

from cascade_rcnn.drawing import draw
from cascade_rcnn.engine.interrupt import StopRequest
from cascade_rcnn.engine.prediction.job import PredictionJob
from cascade_rcnn.engine.prediction.journal import Entry, Journal
from cascade_rcnn.engine.prediction.output_folder import remove_results
from cascade_rcnn.engine.prediction.pending_images import Chosen, PendingImages, names_of
from cascade_rcnn.engine.prediction.summary import PredictionSummary, finish
from cascade_rcnn.engine.progress import ProgressBar
from cascade_rcnn.errors import UserError, reason
from cascade_rcnn.files import NoRoomError, remove_leftovers, replacing
from cascade_rcnn.images.decoding import file_holds_more, file_is_dark
from cascade_rcnn.images.folders import JOURNAL, PICTURES, picture_of
from cascade_rcnn.images.tensors import read_image
from cascade_rcnn.passes import Detect, Found
from cascade_rcnn.passes.interface import to_numpy
from cascade_rcnn.passes.isolate import detect_each
from cascade_rcnn.results import to_supervision
from cascade_rcnn.text import printable


def detect_in_files(detect: Detect, job: PredictionJob) -> PredictionSummary:
    """Detect batch by batch, and write `detections.json`, `images.jsonl` and `pictures/` to the output folder.

    Apart from file names, memory does not grow with the number of images. An image that fails for any reason is
    reported, recorded in images.jsonl and skipped. Images processed by an earlier call with the same settings are not
    processed again. On Ctrl-C, SIGTERM or SIGHUP, the function finishes the batch, writes detections.json and raises
    Interrupted. Raises UserError for a path without images, an output folder that cannot be used, or names that a
    format cannot represent.
    """
    job.check_names(names_of(job.paths, job.truth))
    paths = [printable(str(path)) for path in job.paths]
    settings = job.settings | {"paths": paths, "threshold": job.threshold, "pictures": job.pictures}
    summary = PredictionSummary()
    with Journal(job.output / JOURNAL, settings, overwrite=job.overwrite) as journal, StopRequest() as stop:
        remove_leftovers(job.output)  # of a killed run
        if job.overwrite:
            remove_results(job.output)
        pending = PendingImages(job.paths, job.truth, journal)
        try:
            _run(detect, job, pending, journal, summary, stop)
        except OSError:
            if not stop.asked:  # if stopped, the terminal with the progress bar may be gone
                raise
        summary.before, summary.unnamed, summary.left_out = pending.before, pending.unnamed, pending.left_out
        finish(summary, job, journal, [job.output / PICTURES] if job.pictures else [], stopped=stop.asked)
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
            read = [one.path for one, entry in zip(chunk, entries, strict=True) if entry.error is None]
            summary.in_part += sum(map(file_holds_more, read))
            summary.dark += sum(map(file_is_dark, read))
            bar.advance(len(chunk), "")


def _detect(detect: Detect, chunk: list[Chosen], job: PredictionJob) -> list[Entry]:
    """Return the entries of a batch; if the batch fails as a whole, process its images one by one."""
    opened: list[tuple[Chosen, Tensor]] = []
    entries: dict[str, Entry] = {}
    for one in chunk:
        try:
            opened.append((one, read_image(one.path, job.max_megapixels)))
        except Exception as error:  # noqa: BLE001  any decoder error concerns only that file
            entries[one.name] = _failure(one, error, job)
    for (one, image), found in zip(opened, detect_each(detect, [image for _, image in opened]), strict=True):
        if isinstance(found, Exception):
            entries[one.name] = _failure(one, found, job)
        else:
            entries[one.name] = _entry(one, image, found, job)
    return [entries[one.name] for one in chunk]


def _failure(one: Chosen, error: Exception, job: PredictionJob) -> Entry:
    text = str(error) if isinstance(error, UserError) else f"{one.path}: {type(error).__name__} ({reason(error)})"
    job.report(f"skipped: {text}")
    return Entry(file_name=one.name, image_id=one.image_id, stamp=one.stamp, error=printable(text))


def _entry(one: Chosen, image: Tensor, found: Found, job: PredictionJob) -> Entry:
    if job.pictures:
        try:
            shown = to_supervision(to_numpy(found), job.class_names, job.shown)
            _save_picture(draw(image.permute(1, 2, 0).numpy(), shown), job.output / PICTURES / picture_of(one.name))
        except NoRoomError:  # there is none for other pictures and results, either
            raise
        except Exception as error:  # noqa: BLE001  for example, a name that is too long
            job.report(f"no picture of {one.path}: {reason(error)}")
    size = (image.shape[1], image.shape[2])
    return job.entry(found, size, file_name=one.name, image_id=one.image_id, stamp=one.stamp)


def _save_picture(picture: PIL.Image.Image, path: Path) -> None:
    png = path.suffix.lower() == ".png"
    with replacing(path) as aside:
        picture.save(aside, **({"format": "PNG"} if png else {"format": "JPEG", "quality": 92}))
