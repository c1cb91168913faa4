"""Detection in a video, which writes detections and an annotated video, using constant memory.

As with images, the detections of each frame are recorded before the next batch starts (`journal.py`). The annotated
video is drawn from these records, so that a call that continues an interrupted one does not process earlier frames
again. After Ctrl-C, there is a video of the frames so far; if it would have fewer frames than were recorded, an
existing one is kept.
"""

from collections.abc import Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cascade_rcnn.data.segmentations import decoded
from cascade_rcnn.drawing import draw
from cascade_rcnn.engine.interrupt import StopRequest
from cascade_rcnn.engine.prediction.job import PredictionJob
from cascade_rcnn.engine.prediction.journal import Entry, Journal
from cascade_rcnn.engine.prediction.output_folder import VIDEO, remove_results
from cascade_rcnn.engine.prediction.summary import PredictionSummary, finish
from cascade_rcnn.engine.prediction.tracks import Tracks
from cascade_rcnn.engine.prediction.video_frames import Clip, Frame, VideoFrames, VideoWriter
from cascade_rcnn.engine.progress import ProgressBar
from cascade_rcnn.errors import UserError
from cascade_rcnn.files import remove_leftovers, replacing
from cascade_rcnn.images.folders import JOURNAL
from cascade_rcnn.passes import Detect
from cascade_rcnn.results import to_supervision
from cascade_rcnn.text import count, printable


def detect_in_video(detect: Detect, job: PredictionJob, clip: Clip, *, track: bool = False) -> PredictionSummary:
    """Detect frame by frame, and write `detections.json`, `images.jsonl` and `video.mp4` to the output folder.

    The image id of a frame is its number, starting at 0. `track` adds track numbers. On Ctrl-C, SIGTERM or SIGHUP, all
    files are written for the frames so far; then Interrupted is raised, except for a live source, which can only end
    this way. Raises UserError for a video that cannot be opened.
    """
    summary = PredictionSummary(unit="frame")
    with ExitStack() as stack:
        frames = stack.enter_context(VideoFrames(clip))
        tracks = Tracks(frames.rate / clip.step, job.shown_of) if track else None
        settings = job.settings | _settings(job, frames, track)
        journal = stack.enter_context(Journal(job.output / JOURNAL, settings, overwrite=job.overwrite))
        stop = stack.enter_context(StopRequest())
        remove_leftovers(job.output)
        if job.overwrite:
            remove_results(job.output)
        _run(detect, job, frames, journal, tracks, summary, stop)
        _report(job, frames, summary, stopped=stop.asked)
        drawn = [job.output / VIDEO] if job.pictures and summary.done + summary.before else []
        finish(summary, job, journal, drawn, stopped=stop.asked and not frames.are_live)
    return summary


def _report(job: PredictionJob, frames: VideoFrames, summary: PredictionSummary, *, stopped: bool) -> None:
    clip, number = frames.clip, summary.done + summary.before
    source = clip.source
    if frames.broken and not number:
        raise UserError(f"{source}: cannot read this video ({frames.broken}); check its path and format")
    if frames.damaged and not number:
        parts = f"{count(frames.damaged, 'part')} could not be decoded"
        raise UserError(f"{source}: cannot read this video ({parts}); check its format")
    if not number and not stopped:
        if (clip.start, clip.end, clip.step) == (0, None, 1):
            raise UserError(f"{source}: this video has no frames; give another one")
        span = f"from {clip.start:g} s" + ("" if clip.end is None else f" to {clip.end:g} s")
        every = "" if clip.step == 1 else f", taking every {clip.step}th frame"
        raise UserError(f"{source}: has no frames {span}{every}; choose another part with --start, --end and --step")
    if frames.broken:
        job.report(f"{source}: ended early, after {count(number, 'frame')} ({frames.broken})")
    if frames.damaged:
        job.report(f"{source}: skipped {count(frames.damaged, 'part')} that could not be decoded")


def _settings(job: PredictionJob, frames: VideoFrames, track: bool) -> dict[str, object]:
    clip, path = frames.clip, Path(frames.clip.source)
    video = (path.stat().st_size, path.stat().st_mtime_ns) if path.is_file() else frames.extent
    live = {"recorded": datetime.now(UTC).isoformat()} if frames.are_live else {}  # they are never the same again
    span = {"step": clip.step, "start": clip.start, "end": clip.end, "track": track}
    return {"video": printable(clip.source), "its size and time": video, "threshold": job.threshold, **span, **live}


def _run(
    detect: Detect,
    job: PredictionJob,
    frames: VideoFrames,
    journal: Journal,
    tracks: Tracks | None,
    summary: PredictionSummary,
    stop: StopRequest,
) -> None:
    name = frames.clip.name
    remaining = iter(frames)
    with suppress(_Shorter), ExitStack() as stack:
        bar = stack.enter_context(ProgressBar("predict", frames.total, shown=True))
        writer: VideoWriter | None = None
        while not stop.asked and (batch := list(islice(remaining, job.batch_size))):
            for frame, entry in _entries(detect, job, batch, journal, name, tracks, summary):
                if job.pictures and writer is None:
                    aside = stack.enter_context(replacing(job.output / VIDEO))
                    rate = frames.rate / frames.clip.step
                    writer = stack.enter_context(VideoWriter(aside, rate, frame.aspect))
                if writer is not None:
                    writer.write(_drawn(frame.pixels, entry, job), frame.time - frames.clip.start)
            bar.advance(len(batch), "")
        if summary.done + summary.before < journal.number and (job.output / VIDEO).exists():
            raise _Shorter


class _Shorter(Exception):  # noqa: N818  only leaves the blocks above
    """The new video has fewer frames than earlier calls have recorded, and must not replace theirs."""


def _entries(
    detect: Detect,
    job: PredictionJob,
    batch: list[Frame],
    journal: Journal,
    name: str,
    tracks: Tracks | None,
    summary: PredictionSummary,
) -> Iterator[tuple[Frame, Entry]]:
    """Return the entries of a batch of frames, detecting in and recording new ones."""
    names = [f"{name}_{frame.number:06}.jpg" for frame in batch]
    fresh = [(frame, one) for frame, one in zip(batch, names, strict=True) if not journal.has(one, (0, 0))]
    found = detect([torch.from_numpy(frame.pixels).permute(2, 0, 1) for frame, _ in fresh]) if fresh else []
    new: dict[str, Entry] = {}
    for (frame, one), result in zip(fresh, found, strict=True):
        size = (frame.pixels.shape[0], frame.pixels.shape[1])
        new[one] = job.entry(result, size, file_name=one, image_id=frame.number, time=round(frame.time, 6))
    entries = [new[one] if one in new else journal.entry(one) for one in names]
    if tracks is not None:
        for entry in entries:
            entry.track_ids = tracks.follow(entry)
    journal.add(list(new.values()))
    summary.done, summary.before = summary.done + len(new), summary.before + len(batch) - len(new)
    return zip(batch, entries, strict=True)


def _drawn(pixels: np.ndarray, entry: Entry, job: PredictionJob) -> np.ndarray:
    boxes = np.array(entry.boxes).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    labels = {category.id: label for label, category in enumerate(job.categories, start=1)}
    found: dict[str, Any] = {
        "boxes": boxes,
        "scores": np.array(entry.scores),
        "labels": np.array([labels[i] for i in entry.category_ids], int),
    }
    if entry.masks:
        found["masks"] = decoded((one.encode() for one in entry.masks), entry.height, entry.width)
    if entry.track_ids:
        found["tracks"] = np.array([-1 if one is None else one for one in entry.track_ids])
    return np.asarray(draw(pixels, to_supervision(found, job.class_names, job.shown)))
