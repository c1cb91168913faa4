"""Selection of the detections that are written for other tools."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple, TypeAlias

from cascade_rcnn.engine.prediction.journal import Entry, Journal
from cascade_rcnn.evaluation.detections import Box, Outline

Least: TypeAlias = Mapping[int, float]  # the minimum score of each category id


class Kept(NamedTuple):
    """A detection with at least the minimum score of its class."""

    box: Box  # x, y, width, height in pixels
    score: float
    category_id: int
    track_id: int | None
    mask: Outline | None


def kept(entry: Entry, least: Least) -> Iterator[Kept]:
    """Yield the detections in an image that have the minimum score of their class."""
    tracks = entry.track_ids or [None] * len(entry.boxes)
    masks = [Outline((entry.height, entry.width), counts) for counts in entry.masks] or [None] * len(entry.boxes)
    for row in zip(entry.boxes, entry.scores, entry.category_ids, tracks, masks, strict=True):
        one = Kept(*row)
        if one.score >= least[one.category_id]:
            yield one


def readable(journal: Journal) -> Iterator[Entry]:
    """Yield the images that were processed successfully, including those without detections."""
    return (entry for entry in journal.entries() if entry.error is None)
