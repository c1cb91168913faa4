"""COCO datasets of detections, and their conversion to CVAT's format by hotcoco."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Any

import hotcoco
import msgspec

from cascade_rcnn import rle
from cascade_rcnn.config import Category
from cascade_rcnn.engine.prediction.formats.kept import Least, kept, readable
from cascade_rcnn.engine.prediction.formats.outlines import outline
from cascade_rcnn.engine.prediction.journal import Journal
from cascade_rcnn.errors import UserError
from cascade_rcnn.evaluation.detections import Outline
from cascade_rcnn.files import replacing


def write_rows(file: IO[bytes], rows: Iterable[Any]) -> int:
    """Write the elements of a JSON list, one per line, using constant memory; return their number."""
    number = 0
    for number, row in enumerate(rows, start=1):
        file.write((b",\n" if number > 1 else b"\n") + msgspec.json.encode(row))
    return number


def write_coco(
    path: Path, journal: Journal, categories: Sequence[Category], least: Least, *, outlined: bool = False
) -> Path:
    """Write a COCO dataset whose annotations also have a `score` and, in a tracked video, a `track_id`.

    Masks become run lengths, or one polygon each if `outlined`.
    """
    images = (
        {"id": one.image_id, "file_name": one.file_name, "width": one.width, "height": one.height}
        for one in readable(journal)
    )
    found = (
        {
            "image_id": one.image_id,
            "category_id": row.category_id,
            "bbox": row.box,
            "area": row.box[2] * row.box[3] if row.mask is None else _area(row.mask),
            "score": row.score,
            **({} if row.track_id is None else {"track_id": row.track_id}),
            **({} if row.mask is None else {"segmentation": _polygons(row.mask) if outlined else row.mask}),
        }
        for one in readable(journal)
        for row in kept(one, least)
    )
    annotations = ({"id": number, **row, "iscrowd": 0} for number, row in enumerate(found, start=1))
    with replacing(path) as aside, aside.open("wb") as file:
        file.write(b'{"categories": ' + msgspec.json.encode(list(categories)) + b',\n"images": [')
        write_rows(file, images)
        file.write(b'\n],\n"annotations": [')
        write_rows(file, annotations)
        file.write(b"\n]}\n")
    return path


def _area(mask: Outline) -> int:
    return rle.area(rle.from_string(mask.counts.encode()))


def _polygons(mask: Outline) -> list[list[float]]:
    points = outline(mask)
    return [] if points is None else [points.ravel().tolist()]


def write_cvat(path: Path, coco: Path) -> Path:
    """Convert a COCO dataset with polygons to CVAT for images 1.1. Raises UserError if this is impossible."""
    data = hotcoco.COCO(str(coco))
    try:
        with replacing(path) as aside:
            data.to_cvat(str(aside))
    except ValueError as error:
        raise UserError(f"{path}: cvat cannot represent these images ({error}); choose another --format") from None
    return path
