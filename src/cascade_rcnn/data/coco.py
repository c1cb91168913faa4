"""Load and save annotations in COCO's JSON format: https://cocodataset.org/#format-data."""

import math
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import numpy as np
import torch
from msgspec import Meta, Struct

from cascade_rcnn.config import Category
from cascade_rcnn.data.annotations import Annotations, assemble
from cascade_rcnn.data.check import BadImages
from cascade_rcnn.data.names import locate
from cascade_rcnn.data.rotated import degrees, rotation_note, upright
from cascade_rcnn.data.segmentations import ABSENT, bounds, problem
from cascade_rcnn.data.sizes import fill_sizes
from cascade_rcnn.errors import UserError
from cascade_rcnn.files import replacing
from cascade_rcnn.text import count
from cascade_rcnn.text_files import read_utf8

_Int64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
_T = TypeVar("_T")
_Length = Annotated[int, Meta(ge=0, le=2**31 - 1)]


class _Image(Struct, gc=False):
    id: _Int64
    file_name: str
    width: _Length | None = None
    height: _Length | None = None


class _Box(Struct, gc=False, omit_defaults=True):
    image_id: _Int64
    category_id: _Int64
    bbox: tuple[float, ...] | None = None  # not a list, which garbage collection would visit
    id: _Int64 | None = None
    area: float | None = None
    iscrowd: int | bool | None = None


class _Object(_Box, gc=False):
    segmentation: msgspec.Raw = msgspec.Raw(b"null")


class _Category(Struct, gc=False, omit_defaults=True):
    id: _Int64
    name: str
    supercategory: Any = None


class _File(Struct):
    images: list[_Image]
    categories: list[_Category]
    annotations: list[_Box] = []


class _FileWithMasks(_File):
    annotations: list[_Object] = []  # pyright: ignore[reportIncompatibleVariableOverride]


class _Outline(Struct, gc=False):
    segmentation: Any = None


class _Outlines(Struct):
    annotations: list[_Outline]


class _Marks(Struct, gc=False):
    """Fields of other tools that would change the meaning of an annotation."""

    attributes: Any = None  # CVAT's: rotation
    ignore: Any = None  # as converters from Pascal VOC write it
    segmentation: msgspec.Raw = msgspec.Raw(b"null")


class _Marked(Struct):
    annotations: list[_Marks] = []


def load_coco(
    path: Path,
    images: Path | None = None,
    *,
    classes: Sequence[str] | None = None,
    masks: bool = False,
    bad_images: BadImages = "stop",
) -> Annotations:
    """Load a COCO detection file; `area` (default: w * h), `iscrowd` and `id` of annotations are optional.

    Images are looked up in `images` or, by default, where tools put them: beside the file, in `images/`, or beside the
    file's folder. Missing sizes are read from the images, missing boxes are derived from segmentations, and Roboflow's
    grouping class is dropped if no box has it and it is not among `classes`, those of the training set. With `masks`,
    polygons and run lengths are kept.
    Raises UserError naming file and entry if the file is missing, not a COCO detection file, or inconsistent.
    """
    text = read_utf8(path)
    file = _decode(path, text, _FileWithMasks if masks else _File)
    notes = [*_read_marks(path, text, file), *_derive_boxes(path, text, file)]
    categories, unused = _categories(file, classes)
    _check_unique(path, "image", [image.id for image in file.images])
    _check_unique(path, "category", [category.id for category in file.categories])
    folder, names, found = locate([image.file_name for image in file.images], _folders(path, images), path.stem)
    sizes = np.array([(image.height or 0, image.width or 0) for image in file.images], np.int64).reshape(-1, 2)
    measured = fill_sizes(str(path), lambda i: folder / names[i], sizes, bad_images)

    kept = measured.kept
    image_ids = np.array([image.id for image in file.images], np.int64)
    dropped = set(image_ids[~kept].tolist())
    given = file.annotations
    entries = [k for k, row in enumerate(given) if row.bbox and row.image_id not in dropped]
    rows = [given[k] for k in entries]
    numbers = chain.from_iterable(row.bbox for row in rows if row.bbox)
    boxes = np.fromiter(numbers, np.float64, 4 * len(rows)).reshape(-1, 4)
    areas = np.array([np.nan if row.area is None else row.area for row in rows], np.float64)
    ids, renumbered = _box_ids(rows)
    category_ids = np.array([category.id for category in categories], np.int64)
    return assemble(
        source=path,
        images_dir=folder,
        categories=categories,
        unused=unused,
        image_ids=image_ids[kept],
        image_sizes=measured.sizes[kept],
        file_names=[name for name, keep in zip(names, kept, strict=True) if keep],
        box_images=_positions(path, "image", [row.image_id for row in rows], image_ids[kept], entries),
        boxes=boxes,
        areas=areas,
        labels=1 + _positions(path, "category", [row.category_id for row in rows], category_ids, entries),
        ignore=np.array([bool(row.iscrowd) for row in rows], np.bool_),
        ids=ids,
        notes=[*notes, *_shared_names(file), *found, *measured.notes, *renumbered],
        segmentations=[bytes(row.segmentation) for row in rows if isinstance(row, _Object)] if masks else None,
    )


def _folders(path: Path, images: Path | None) -> list[tuple[Path, int | None]]:
    """Return possible image folders, most likely first, each with the depth to which it is searched."""
    if images is not None:
        return [(images, None)]
    beside, above = path.parent, path.parent.parent
    split = path.stem.partition("_")[2] or path.stem  # instances_train2017.json
    return [
        (beside, 1),
        (beside / "images", None),
        (beside / split, None),
        *(
            ((above / "images" / split, None), (above / split, None), (above / "images", None))
            if beside.name.lower() == "annotations"  # the layout of COCO and CVAT
            else ()
        ),
    ]


def _categories(file: _File, classes: Sequence[str] | None) -> tuple[list[Category], list[Category]]:
    """Return the classes by id, and the one that Roboflow adds for grouping if it is left out."""
    given = sorted(file.categories, key=lambda c: c.id)
    declared = [Category(id=c.id, name=c.name) for c in given]
    root, others = given[:1], given[1:]
    groups = others and all(c.id == 0 and c.supercategory in (None, "none") for c in root)
    if not groups or any(c.supercategory != root[0].name for c in others):
        return declared, []
    # The training set may use it, or the model know it, where this split does not. A class may have the same name.
    known = Counter(classes or ())[root[0].name] > sum(c.name == root[0].name for c in others)
    if known or any(row.category_id == 0 and row.bbox for row in file.annotations):
        return declared, []
    return declared[1:], declared[:1]


def _shared_names(file: _File) -> list[str]:
    counts = Counter(image.file_name for image in file.images)
    shared = [name for name, number in counts.items() if number > 1]
    if not shared:
        return []
    return [f"several images share a file name (first: {shared[0]!r}); give each image its own file"]


def _derive_boxes(path: Path, text: bytes, file: _File) -> list[str]:
    """Derive missing boxes from segmentations, and return notes for the user; annotations without either have no box.

    A box of four zeros is missing, too: tools write it for objects of which they only have the outline.
    """
    lengths = [len(row.bbox or ()) for row in file.annotations]
    if odd := [k for k, length in enumerate(lengths) if length not in (0, 4)]:
        raise UserError(
            f"{path}: annotations[{odd[0]}] has a bbox of {lengths[odd[0]]} numbers; give x, y, width, height"
        )
    empty = [k for k, row in enumerate(file.annotations) if not any(row.bbox or ())]
    if not empty:
        return []
    outlines = _decode(path, text, _Outlines).annotations
    sizes = {image.id: (image.height or 0, image.width or 0) for image in file.images}
    derived = 0
    for k in empty:
        row = file.annotations[k]
        if (box := bounds(outlines[k].segmentation, sizes.get(row.image_id, (0, 0)))) is not None:
            row.bbox, derived = box, derived + 1
    lost = [k for k in empty if not file.annotations[k].bbox]
    what = "annotations have no bbox, or one of zeros; that of their segmentation is used"
    notes = [f"{derived} of {len(lengths)} {what}"] if derived else []
    if lost:
        notes.append(
            f"{len(lost)} of {len(lengths)} annotations have neither bbox nor a usable segmentation (first: "
            f"annotations[{lost[0]}]); they are ignored"
        )
    return notes


def _read_marks(path: Path, text: bytes, file: _File) -> list[str]:
    """Make rotated boxes upright, and return notes on them and on a field that evaluation does not know."""
    if b'"rotation"' not in text and b'"ignore"' not in text:
        return []
    turned, ignored = 0, []
    for k, (row, marks) in enumerate(zip(file.annotations, _decode(path, text, _Marked).annotations, strict=True)):
        if marks.ignore in (1, "1") and not row.iscrowd:
            ignored.append(k)
        angle = degrees(marks.attributes.get("rotation")) if isinstance(marks.attributes, dict) else 0
        # Outlines are exported as they are in the image, and boxes are those of the outlines.
        if angle % 180 and row.bbox and len(row.bbox) == 4 and problem(bytes(marks.segmentation), 0, 0) == ABSENT:
            row.bbox, turned = upright(row.bbox, angle), turned + 1
    notes = rotation_note(turned, len(file.annotations))
    if ignored:
        what = f"{len(ignored)} of {len(file.annotations)} annotations have `ignore` set (first: annotations"
        notes.append(f"{what}[{ignored[0]}]), which COCO's evaluation does not know; set `iscrowd` to ignore them")
    return notes


def save_coco(annotations: Annotations, path: Path) -> None:
    """Write a COCO detection file, atomically. Raises UserError if it cannot be written.

    An object with a mask has no area if it had none: that of its box would count as that of the mask.
    """
    sizes, image_ids = annotations.image_sizes.tolist(), annotations.image_ids[annotations.owners].tolist()
    areas, masks = annotations.areas, annotations.segmentations
    if masks is not None:
        areas = areas.masked_fill(annotations.without_area & torch.from_numpy(masks.has()), torch.nan)
    columns = (annotations.boxes, annotations.labels, annotations.ids, areas, annotations.ignore)
    boxes = [
        _Box(image_id, annotations.categories[label - 1].id, tuple(box), id_, _known(area), int(ignore))
        for image_id, box, label, id_, area, ignore in zip(
            image_ids, *(column.tolist() for column in columns), strict=True
        )
    ]
    file = _File(
        images=[
            _Image(id=id_, file_name=annotations.file_names[i], width=sizes[i][1], height=sizes[i][0])
            for i, id_ in enumerate(annotations.image_ids.tolist())
        ],
        annotations=_with_masks(annotations, boxes),
        categories=[_Category(category.id, category.name) for category in annotations.categories],
    )
    with replacing(path) as aside:
        aside.write_bytes(msgspec.json.encode(file))


def _known(area: float) -> float | None:
    return None if math.isnan(area) else area


def _with_masks(annotations: Annotations, boxes: list[_Box]) -> list[_Box]:
    found = annotations.segmentations
    if found is None:
        return boxes
    texts = (found.read(a) for a in range(len(found)))
    return [
        _Object(*msgspec.structs.astuple(box), segmentation=msgspec.Raw(text)) if text else box
        for box, text in zip(boxes, texts, strict=True)
    ]


def _decode(path: Path, text: bytes, kind: type[_T]) -> _T:
    try:
        # Not strict: accepts ids and sizes that some tool has turned into floats (1.0) or strings ("1").
        return msgspec.json.decode(text, type=kind, strict=False)
    except msgspec.ValidationError as error:
        raise UserError(
            f"{path}: this is not a COCO detection file: {error}; it needs images (id, file_name, width, height), "
            "annotations (image_id, category_id, bbox) and categories (id, name)"
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path}: this is not valid JSON: {error}{_around(text, str(error))}; export it again"
        ) from None
    except RecursionError:
        raise UserError(f"{path}: this JSON is nested too deeply to be a COCO detection file; check the path") from None


def _around(text: bytes, message: str) -> str:
    """Quote the text around the byte named in the message, such as a NaN written by Python's json module."""
    _, _, position = message.rpartition("(byte ")
    if not position.rstrip(")").isdecimal():
        return ""
    at = int(position.rstrip(")"))
    return f" near {text[max(at - 20, 0) : at + 20].decode(errors='replace')!r}"


def _check_unique(path: Path, kind: str, ids: Sequence[int]) -> None:
    counts = Counter(ids)
    if len(counts) < len(ids):
        twice, number = counts.most_common(1)[0]
        raise UserError(f"{path}: {number} entries share the {kind} id {twice}; every {kind} needs its own id")


def _positions(path: Path, kind: str, wanted: list[int], ids: np.ndarray, entries: list[int]) -> np.ndarray:
    """Return the position of each wanted id, which is that of an entry of the file's annotations, in `ids` (unique)."""
    place = {id_: i for i, id_ in enumerate(ids.tolist())}
    places = np.array([place.get(id_, -1) for id_ in wanted], np.int64)
    if (unknown := np.flatnonzero(places < 0)).size:
        k = unknown[0]
        raise UserError(
            f"{path}: annotations[{entries[k]}] has {kind}_id {wanted[k]}, which is not the id of any {kind} "
            f"({count(unknown.size, 'box')} in total); add the {kind} or remove the box"
        )
    return places


def _box_ids(rows: list[_Box]) -> tuple[np.ndarray, list[str]]:
    """Return unique ids of the boxes, as evaluation needs (1..A if the file's are missing or repeated), and notes."""
    given = [row.id for row in rows if row.id is not None]
    if len(set(given)) == len(rows):
        return np.array(given, np.int64), []
    why = (
        f"{count(len(rows) - len(given), 'box')} without an id" if len(given) < len(rows) else "some boxes share an id"
    )
    return np.arange(1, len(rows) + 1), [f"{why}; all are renumbered from 1"]
