"""A table with one row per detection, for DuckDB, pandas, Polars and Spark."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from cascade_rcnn.config import Category
from cascade_rcnn.engine.prediction.formats.kept import Least, kept, readable
from cascade_rcnn.engine.prediction.journal import Journal
from cascade_rcnn.extras import needs
from cascade_rcnn.files import replacing

_GROUP = 50_000  # rows in memory at once

# Corners are in pixels of the image. track_id and time (seconds) are null for images. Masks are compressed run lengths
# in COCO's format for the size of the image, null if the model has none.
COLUMNS = {
    "image_id": "int64",
    "file_name": "string",
    "image_width": "int32",
    "image_height": "int32",
    "category_id": "int64",
    "category_name": "string",
    "x1": "double",
    "y1": "double",
    "x2": "double",
    "y2": "double",
    "score": "double",
    "track_id": "int64",
    "time": "double",
    "mask": "string",
}


def write_parquet(path: Path, journal: Journal, categories: Sequence[Category], least: Least) -> Path:
    """Write the detections in all images, with the columns of `COLUMNS`. Raises UserError if pyarrow is missing."""
    needs_parquet()
    import pyarrow
    from pyarrow import parquet

    schema = pyarrow.schema([(name, pyarrow.type_for_alias(kind)) for name, kind in COLUMNS.items()])
    rows = _rows(journal, {category.id: category.name for category in categories}, least)
    with replacing(path) as aside, parquet.ParquetWriter(aside, schema, compression="zstd") as writer:
        while chunk := list(islice(rows, _GROUP)):
            writer.write_table(pyarrow.Table.from_pylist(chunk, schema=schema))
    return path


def needs_parquet() -> None:
    """Raise UserError if pyarrow is missing."""
    needs("--format parquet", "parquet", "pyarrow")


def _rows(journal: Journal, names: dict[int, str], least: Least) -> Iterator[dict[str, Any]]:
    for entry in readable(journal):
        for one in kept(entry, least):
            x, y, width, height = one.box
            yield {
                "image_id": entry.image_id,
                "file_name": entry.file_name,
                "image_width": entry.width,
                "image_height": entry.height,
                "category_id": one.category_id,
                "category_name": names[one.category_id],
                "x1": x,
                "y1": y,
                "x2": x + width,
                "y2": y + height,
                "score": one.score,
                "track_id": one.track_id,
                "time": entry.time,
                "mask": None if one.mask is None else one.mask.counts,
            }
