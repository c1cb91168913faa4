"""The settings and results of a prediction, for both images and videos."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict, Unpack

from cascade_rcnn.boxes import to_xywh
from cascade_rcnn.config import Category
from cascade_rcnn.data import Annotations
from cascade_rcnn.data.segmentations import run_lengths
from cascade_rcnn.engine.prediction.formats import Format, all_formats, check_names, write_formats
from cascade_rcnn.engine.prediction.formats.coco import write_rows
from cascade_rcnn.engine.prediction.formats.kept import kept
from cascade_rcnn.engine.prediction.journal import Entry, Journal
from cascade_rcnn.evaluation.detections import Result
from cascade_rcnn.files import replacing
from cascade_rcnn.images.decoding import MAX_MEGAPIXELS
from cascade_rcnn.passes import Found, class_thresholds
from cascade_rcnn.text import printable

SHOWN = 0.5  # default threshold for pictures and labelling tools


class EntryFields(TypedDict, total=False):
    """Optional fields of an `Entry`."""

    stamp: tuple[int, int]
    time: float | None


@dataclass(frozen=True, kw_only=True)
class PredictionJob:
    """The images or video, settings and outputs of a prediction."""

    paths: Sequence[str | Path] = ()  # images, folders and glob patterns; empty: the images of `truth`
    truth: Annotations | None = None  # has the ids of images by name, others are skipped; None: ids are 1, 2, ...
    categories: Sequence[Category]
    output: Path
    threshold: float | None = None  # None: 0 for detections.json, 0.5 for pictures and other formats
    thresholds: Mapping[str, float] = field(default_factory=dict)  # by class name, instead of `threshold`
    max_megapixels: float | None = MAX_MEGAPIXELS
    batch_size: int = 1
    pictures: bool = True
    formats: Sequence[Format] = ()
    settings: dict[str, Any] = field(default_factory=dict)  # other settings that must not change when resuming
    overwrite: bool = False
    report: Callable[[str], None] = lambda line: print(printable(line), file=sys.stderr)

    @property
    def class_names(self) -> list[str]:
        """The names of labels 1..M, in order."""
        return [category.name for category in self.categories]

    @property
    def least(self) -> list[float]:
        """The minimum score of each class in detections.json."""
        return class_thresholds(self.class_names, self.thresholds, self.threshold or 0.0)

    @property
    def shown(self) -> list[float]:
        """The minimum score of each class in pictures and other formats."""
        return class_thresholds(self.class_names, self.thresholds, SHOWN if self.threshold is None else self.threshold)

    @property
    def shown_of(self) -> dict[int, float]:
        """The minimum score in pictures and other formats, by category id."""
        return dict(zip((category.id for category in self.categories), self.shown, strict=True))

    def entry(
        self, found: Found, size: tuple[int, int], *, file_name: str, image_id: int, **more: Unpack[EntryFields]
    ) -> Entry:
        """Return the record of the detections with at least the score `least` in an image of `size` (height, width)."""
        keep = found["scores"] >= found["scores"].new_tensor([0.0, *self.least])[found["labels"]]
        # float64 from here on, as in evaluation, so that the file gets the same metrics as the model.
        boxes = to_xywh(found["boxes"][keep].double())
        return Entry(
            file_name=file_name,
            image_id=image_id,
            height=size[0],
            width=size[1],
            boxes=[(x, y, w, h) for x, y, w, h in boxes.tolist()],
            scores=found["scores"][keep].double().tolist(),
            category_ids=[self.categories[label - 1].id for label in found["labels"][keep].tolist()],
            masks=[mask["counts"].decode() for mask in run_lengths(found["masks"][keep])] if "masks" in found else [],
            **more,
        )

    def write_results(self, journal: Journal) -> int:
        """Write `detections.json` from the journal, atomically, and return the number of detections."""
        with replacing(self.output / "detections.json") as aside, aside.open("wb") as file:
            file.write(b"[")
            number = write_rows(file, self._results(journal))
            file.write(b"\n]\n")
        return number

    def _results(self, journal: Journal) -> Iterator[Result]:
        names = {category.id: category.name for category in self.categories}
        for entry in journal.entries():
            for row in kept(entry, dict.fromkeys(names, 0.0)):
                ids = entry.image_id, entry.file_name, row.category_id, names[row.category_id]
                yield Result(row.box, row.score, *ids, segmentation=row.mask, track_id=row.track_id)

    def best_hidden(self, journal: Journal) -> float | None:
        """Return the best score if there are detections, and pictures and other formats show none; else None."""
        if self.threshold is not None or not (self.pictures or self.formats):
            return None
        least, best = self.shown_of, None
        for entry in journal.entries():
            for category, score in zip(entry.category_ids, entry.scores, strict=True):
                if score >= least[category]:
                    return None
                best = score if best is None else max(best, score)
        return best

    def check_names(self, names: Iterable[str]) -> None:
        """Raise UserError if pictures or a format to be written cannot hold images of these names; iterate over all."""
        formats = self.formats if self.overwrite else all_formats(self.formats, self.output)
        check_names(formats, names, pictures=self.pictures)

    def write_formats(self, journal: Journal) -> list[Path]:
        """Write the files in other formats, and return their paths."""
        return write_formats(self.formats, journal, self.categories, self.output, self.shown_of)
