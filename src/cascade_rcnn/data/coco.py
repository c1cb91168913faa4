"""Load and save annotations in COCO's JSON format: https://cocodataset.org/#format-data."""

import math
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import msgspec
import numpy as np
import torch

from cascade_rcnn.config import Category
from cascade_rcnn.data.annotations import Annotations, check_annotations
from cascade_rcnn.data.assemble import assemble
from cascade_rcnn.data.check import BadImages
from cascade_rcnn.data.coco_boxes import corners_note, derive_boxes, read_marks
from cascade_rcnn.data.coco_json import Box, CategoryEntry, File, FileWithMasks, Image, Object, decode
from cascade_rcnn.data.names import locate
from cascade_rcnn.data.sizes import fill_sizes
from cascade_rcnn.errors import UserError
from cascade_rcnn.files import replacing
from cascade_rcnn.text import count
from cascade_rcnn.text_files import read_utf8


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
    file = decode(path, text, FileWithMasks if masks else File)
    notes = [*read_marks(path, text, file), *derive_boxes(path, text, file)]
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
    box_images = _positions(path, "image", [row.image_id for row in rows], image_ids[kept], entries)
    form = corners_note(boxes, measured.sizes[kept][box_images][:, ::-1])
    return assemble(
        source=path,
        images_dir=folder,
        categories=categories,
        unused=unused,
        image_ids=image_ids[kept],
        image_sizes=measured.sizes[kept],
        file_names=[name for name, keep in zip(names, kept, strict=True) if keep],
        box_images=box_images,
        boxes=boxes,
        areas=areas,
        labels=1 + _positions(path, "category", [row.category_id for row in rows], category_ids, entries),
        ignore=np.array([bool(row.iscrowd) for row in rows], np.bool_),
        ids=ids,
        notes=[*notes, *form, *_partly_annotated(text), *_shared_names(file), *found, *measured.notes, *renumbered],
        segmentations=[bytes(row.segmentation) for row in rows if isinstance(row, Object)] if masks else None,
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


def _categories(file: File, classes: Sequence[str] | None) -> tuple[list[Category], list[Category]]:
    """Return the classes by id, and the one that Roboflow adds for grouping if it is left out."""
    given = sorted(file.categories, key=lambda c: c.id)
    declared = [Category(id=c.id, name=str(c.name)) for c in given]
    root, others = given[:1], given[1:]
    groups = others and all(c.id == 0 and c.supercategory in (None, "none") for c in root)
    if not groups or any(c.supercategory != root[0].name for c in others):
        return declared, []
    # The training set may use it, or the model know it, where this split does not. A class may have the same name.
    known = Counter(classes or ())[declared[0].name] > sum(c.name == root[0].name for c in others)
    if known or any(row.category_id == 0 and row.bbox for row in file.annotations):
        return declared, []
    return declared[1:], declared[:1]


def _partly_annotated(text: bytes) -> list[str]:
    if b'"neg_category_ids"' not in text:
        return []
    what = "images are annotated for some classes only (`neg_category_ids`, as in LVIS), but COCO's AP counts"
    return [f"{what} detections of all others as wrong; LVIS's own evaluation does not"]


def _shared_names(file: File) -> list[str]:
    counts = Counter(image.file_name for image in file.images)
    shared = [name for name, number in counts.items() if number > 1]
    if not shared:
        return []
    return [f"several images share a file name (first: {shared[0]!r}); give each image its own file"]


def save_coco(annotations: Annotations, path: Path) -> None:
    """Write a COCO detection file, atomically. Raises UserError if it cannot be written.

    An object with a mask has no area if it had none: that of its box would count as that of the mask.
    """
    check_annotations(annotations)
    sizes, image_ids = annotations.image_sizes.tolist(), annotations.image_ids[annotations.owners].tolist()
    areas, masks = annotations.areas, annotations.segmentations
    if masks is not None:
        areas = areas.masked_fill(annotations.without_area & torch.from_numpy(masks.has()), torch.nan)
    columns = (annotations.boxes, annotations.labels, annotations.ids, areas, annotations.ignore)
    boxes = [
        Box(image_id, annotations.categories[label - 1].id, tuple(box), id_, _known(area), int(ignore))
        for image_id, box, label, id_, area, ignore in zip(
            image_ids, *(column.tolist() for column in columns), strict=True
        )
    ]
    file = File(
        images=[
            Image(id=id_, file_name=annotations.file_names[i], width=sizes[i][1], height=sizes[i][0])
            for i, id_ in enumerate(annotations.image_ids.tolist())
        ],
        annotations=_with_masks(annotations, boxes),
        categories=[CategoryEntry(category.id, category.name) for category in annotations.categories],
    )
    with replacing(path) as aside:
        aside.write_bytes(msgspec.json.encode(file))


def _known(area: float) -> float | None:
    return None if math.isnan(area) else area


def _with_masks(annotations: Annotations, boxes: list[Box]) -> list[Box]:
    found = annotations.segmentations
    if found is None:
        return boxes
    texts = (found.read(a) for a in range(len(found)))
    return [
        Object(*msgspec.structs.astuple(box), segmentation=msgspec.Raw(text)) if text else box
        for box, text in zip(boxes, texts, strict=True)
    ]


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


def _box_ids(rows: list[Box]) -> tuple[np.ndarray, list[str]]:
    """Return unique ids of the boxes, as evaluation needs, and notes.

    They are 1..A if the file's are missing, repeated, or texts such as UUIDs.
    """
    given = [row.id for row in rows if isinstance(row.id, int)]
    if len(set(given)) == len(rows):
        return np.array(given, np.int64), []
    if texts := [row.id for row in rows if isinstance(row.id, str)]:
        why = f"ids of boxes are not all numbers (first: {texts[0]!r})"
    elif len(given) < len(rows):
        why = f"{count(len(rows) - len(given), 'box')} without an id"
    else:
        why = "some boxes share an id"
    return np.arange(1, len(rows) + 1), [f"{why}; all are renumbered from 1"]
