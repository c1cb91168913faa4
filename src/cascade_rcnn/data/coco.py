"""COCO json <-> Annotations. https://cocodataset.org/#format-data"""

from itertools import chain
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta, Struct

from cascade_rcnn.config import Category
from cascade_rcnn.data.annotations import Annotations, assemble
from cascade_rcnn.errors import UserError
from cascade_rcnn.files import replacing

_Int64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
_Length = Annotated[int, Meta(ge=1, le=2**31 - 1)]


class _Image(Struct, gc=False):
    id: _Int64
    file_name: str
    width: _Length
    height: _Length


class _Box(Struct, gc=False):
    image_id: _Int64
    category_id: _Int64
    bbox: tuple[float, float, float, float]
    id: _Int64 | None = None
    area: float | None = None
    iscrowd: int | bool | None = None


class _Category(Struct, gc=False):
    id: _Int64
    name: str


class _File(Struct):
    images: list[_Image]
    annotations: list[_Box]
    categories: list[_Category]


def load_coco(annotations: Path, images_dir: Path) -> Annotations:
    """Read a COCO detection file; `area` (default w * h), `iscrowd` and `id` of its boxes are optional.

    Raises UserError naming the file and entry where it is missing, no COCO detection file, or contradicts itself.
    """
    file = _decode(annotations)
    categories = sorted((Category(id=c.id, name=c.name) for c in file.categories), key=lambda c: c.id)
    image_ids = np.array([image.id for image in file.images], np.int64)
    category_ids = np.array([category.id for category in categories], np.int64)
    _check_unique(annotations, "image", image_ids)
    _check_unique(annotations, "category", category_ids)

    rows = file.annotations
    boxes = np.fromiter(chain.from_iterable(row.bbox for row in rows), np.float64, 4 * len(rows)).reshape(-1, 4)
    areas = np.array([np.nan if row.area is None else row.area for row in rows], np.float64)
    ids, notes = _box_ids(rows)
    return assemble(
        source=annotations,
        images_dir=images_dir,
        categories=categories,
        image_ids=image_ids,
        image_sizes=np.array([(image.height, image.width) for image in file.images], np.int32),
        file_names=[image.file_name for image in file.images],
        box_images=_positions(annotations, "image", [row.image_id for row in rows], image_ids),
        boxes=boxes,
        areas=np.where(np.isnan(areas), boxes[:, 2] * boxes[:, 3], areas),
        labels=1 + _positions(annotations, "category", [row.category_id for row in rows], category_ids),
        ignore=np.array([bool(row.iscrowd) for row in rows], np.bool_),
        ids=ids,
        notes=notes,
    )


def save_coco(annotations: Annotations, path: Path) -> None:
    """Write a COCO detection file, complete or not at all. Raises UserError when nothing can be written there."""
    sizes, counts = annotations.image_sizes.tolist(), annotations.first.diff()
    image_ids = annotations.image_ids.repeat_interleave(counts).tolist()
    columns = (annotations.boxes, annotations.labels, annotations.ids, annotations.areas, annotations.ignore)
    file = _File(
        images=[
            _Image(id=id_, file_name=annotations.file_names[i], width=sizes[i][1], height=sizes[i][0])
            for i, id_ in enumerate(annotations.image_ids.tolist())
        ],
        annotations=[
            _Box(image_id, annotations.categories[label - 1].id, tuple(box), id_, area, int(ignore))
            for image_id, box, label, id_, area, ignore in zip(
                image_ids, *(column.tolist() for column in columns), strict=True
            )
        ],
        categories=[_Category(category.id, category.name) for category in annotations.categories],
    )
    with replacing(path) as aside:
        aside.write_bytes(msgspec.json.encode(file))


def _decode(path: Path) -> _File:
    try:
        text = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot read this annotation file ({error.strerror}); check the path") from None
    try:
        return msgspec.json.decode(text, type=_File)
    except msgspec.ValidationError as error:
        raise UserError(
            f"{path}: this is no COCO detection file: {error}; it needs images (id, file_name, width, height), "
            "annotations (image_id, category_id, bbox) and categories (id, name)"
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: this is not valid JSON: {error}{_around(text, str(error))}; write it again") from None


def _around(text: bytes, message: str) -> str:
    """What stands at the byte that the message names, e.g. the NaN that Python's json module writes."""
    _, _, position = message.rpartition("(byte ")
    if not position.rstrip(")").isdecimal():
        return ""
    at = int(position.rstrip(")"))
    return f" near {text[max(at - 20, 0) : at + 20].decode(errors='replace')!r}"


def _check_unique(path: Path, kind: str, ids: np.ndarray) -> None:
    unique, counts = np.unique(ids, return_counts=True)
    if len(unique) < len(ids):
        twice = unique[counts > 1][0]
        entries = np.flatnonzero(ids == twice)
        raise UserError(f"{path}: {len(entries)} entries share the {kind} id {twice}; every {kind} needs its own id")


def _positions(path: Path, kind: str, wanted: list[int], ids: np.ndarray) -> np.ndarray:
    """Where in `ids` (unique) each wanted id stands."""
    place = {id_: i for i, id_ in enumerate(ids.tolist())}
    places = np.array([place.get(id_, -1) for id_ in wanted], np.int64)
    if (unknown := np.flatnonzero(places < 0)).size:
        k = unknown[0]
        raise UserError(
            f"{path}: annotations[{k}] has {kind}_id {wanted[k]}, which is not the id of any {kind} "
            f"({unknown.size} such boxes in all); add the {kind} or remove the box"
        )
    return places


def _box_ids(rows: list[_Box]) -> tuple[np.ndarray, list[str]]:
    """Ids as in the file; 1..A where some are missing or repeated, as evaluation tells boxes apart by their ids."""
    given = [row.id for row in rows if row.id is not None]
    if len(set(given)) == len(rows):
        return np.array(given, np.int64), []
    why = f"{len(rows) - len(given)} boxes have no id" if len(given) < len(rows) else "some boxes share an id"
    return np.arange(1, len(rows) + 1), [f"{why}; all are numbered anew from 1"]
