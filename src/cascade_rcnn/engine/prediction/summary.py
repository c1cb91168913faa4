"""The end of a prediction: its results are written, and summed up."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cascade_rcnn.engine.interrupt import Interrupted
from cascade_rcnn.engine.prediction.job import SHOWN, PredictionJob
from cascade_rcnn.engine.prediction.journal import Journal
from cascade_rcnn.images.folders import notes_of
from cascade_rcnn.text import count


@dataclass
class PredictionSummary:
    """The number of images by outcome, the number of detections, and the files written."""

    done: int = 0  # by this call
    before: int = 0  # by earlier calls
    failed: int = 0
    unnamed: int = 0  # not in the annotations
    in_part: int = 0  # only the first of several pages or frames was read
    dark: int = 0  # 16-bit images that use little of their range
    left_out: Counter[str] = field(default_factory=Counter)  # unsupported formats by suffix, and other kinds
    boxes: int = 0  # in all images
    best_hidden: float | None = None  # the best score, if pictures and other formats show no detection
    files: list[Path] = field(default_factory=list)
    unit: str = "image"

    def __str__(self) -> str:
        before = f" ({self.before} of them by earlier runs)" if self.before else ""
        places = ", ".join(str(path) for path in self.files)
        return f"{count(self.done + self.before, self.unit)}{before}, {count(self.boxes, 'detection')}: {places}"

    @property
    def notes(self) -> list[str]:
        """A line for each kind of image that was skipped, or not read as it is, and one if no detection is shown."""
        unnamed = f"skipped {count(self.unnamed, 'image')}: not in the annotations"
        hidden = f"pictures and other formats show none of the detections: all scores are below {SHOWN}"
        low = [] if self.best_hidden is None else [f"{hidden} (best: {self.best_hidden:.2g}); give a lower --threshold"]
        return [*([unnamed] if self.unnamed else []), *notes_of(self.left_out, self.in_part, self.dark), *low]


def finish(
    summary: PredictionSummary, job: PredictionJob, journal: Journal, drawn: Sequence[Path], *, stopped: bool
) -> None:
    """Write the results in the journal, and complete the summary; pictures or a video have been `drawn`.

    If the user has stopped the prediction, raises Interrupted instead of writing other formats than detections.json.
    """
    summary.boxes, summary.best_hidden = job.write_results(journal), job.best_hidden(journal)
    summary.files = [job.output / "detections.json", *drawn]
    if stopped:
        done = count(journal.number, summary.unit)
        raise Interrupted(f"stopped: {summary.files[0]} contains {done}; run the same command to continue")
    summary.files += job.write_formats(journal)
