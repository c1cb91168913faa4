"""Load YOLO datasets: data.yaml, images/..., and labels/... with the same structure.

data.yaml names the splits (folders of images, or text files listing them) and the classes; so does Darknet's obj.data.
A folder without either has its splits as subfolders and its classes in classes.txt. A label file has one row per box,
`class cx cy w h`, or `class x1 y1 x2 y2 ...` for a polygon, whose bounding box is the box; all in fractions of the
image's width and height. An image without a label file is background.
"""

import os
from collections.abc import Sequence
from glob import escape
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cascade_rcnn.config import Category
from cascade_rcnn.data.annotations import Annotations
from cascade_rcnn.data.assemble import assemble
from cascade_rcnn.data.check import BadImages
from cascade_rcnn.data.foreign import imported_name
from cascade_rcnn.data.image_files import is_image, is_unread, left_out, walk
from cascade_rcnn.data.names import locate, name_in
from cascade_rcnn.data.segmentations import encode
from cascade_rcnn.data.sizes import fill_sizes
from cascade_rcnn.data.splits import choose
from cascade_rcnn.data.yolo_config import YoloConfig, read_config
from cascade_rcnn.data.yolo_labels import find_labels, label_of, pictures, shared_labels, unused_labels
from cascade_rcnn.errors import UserError
from cascade_rcnn.text_files import read_lines

_EDGE = 0.01  # by which rounding may move a box out of its image, in fractions of it
_MANY = 0.25  # of the boxes, with which it is no accident


class _Row(NamedTuple):
    category: int
    box: tuple[float, float, float, float]  # XYWH in fractions of the image
    polygon: tuple[float, ...] = ()  # alternately x and y, in fractions of the image
    doubtful: bool = False  # a triangle that may be a detection with a confidence and a track number


def load_yolo(
    data: Path,
    split: str | None,
    *,
    classes: Sequence[str] | None = None,
    masks: bool = False,
    bad_images: BadImages = "stop",
) -> Annotations:
    """Load one split of a data.yaml, or of a folder with or without one; category ids are the class numbers.

    Image sizes are read from the image headers. `classes` names the classes if no file does. With `masks`, polygons are
    kept as segmentations. Raises UserError naming the file and line of invalid content.
    """
    config = read_config(data)
    splits = list(config.splits)
    if not splits:
        raise UserError(f"{config.path}: names no images; add train and val, with their folders")
    if len({tuple(places) for places in config.splits.values()}) == 1:  # such as train and val of predictions
        split = split or splits[0]
    split = choose(config.path, splits, split)
    images, notes = _images(config, split)
    labels = find_labels(images)
    if not any(labels):
        example = label_of(images[0])
        near = (path.name for path in sorted(example.parent.glob(f"*-{escape(example.name)}")))
        there = next((f"; {name} is there{said}" for name in near if (said := imported_name(name))), "")
        raise UserError(
            f"{config.path}: no image of split {split} has a label file (such as {example}{there}); check the folders"
        )
    shared = shared_labels(images, labels)
    source = f"{config.path} ({split})"
    sizes, kept, skipped = fill_sizes(source, images.__getitem__, np.zeros((len(images), 2)), bad_images)
    images = [image for image, keep in zip(images, kept, strict=True) if keep]
    found = [_read_labels(label, config, masks) for label, keep in zip(labels, kept, strict=True) if keep]
    categories, unnamed = _categories(config, classes, found)
    notes = [*config.notes, *notes, *shared, *_doubts(found), *_corners(found), *unnamed, *skipped]
    return _columns(source, config.root, categories, images, sizes[kept], found, notes, masks)


def _doubts(rows: Sequence[Sequence[_Row]]) -> list[str]:
    if not (number := sum(row.doubtful for found in rows for row in found)):
        return []
    what = "rows have 6 coordinates, the last of them 1, and count as triangles; if they are detections"
    advice = "(class cx cy w h confidence track), remove the last two numbers"
    return [f"{number} of {sum(map(len, rows))} {what} {advice}"]


def _corners(rows: Sequence[Sequence[_Row]]) -> list[str]:
    """Return a note if all boxes seem to be corners: as such they lie in their images, and as they are, many do not."""
    boxes = np.array([row.box for found in rows for row in found]).reshape(-1, 4)
    low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    centre, size = (low + high) / 2, boxes[:, 2:]
    outside = ((low < -_EDGE) | (high > 1 + _EDGE)).any(axis=1)
    if not len(boxes) or outside.mean() < _MANY or not ((centre <= size) & (size <= 1 + _EDGE)).all():
        return []
    return ["the boxes seem to be corners (x1 y1 x2 y2), since as such all lie in their images; write class cx cy w h"]


def _columns(
    source: str,
    root: Path,
    categories: Sequence[Category],
    images: Sequence[Path],
    sizes: np.ndarray,
    rows: Sequence[Sequence[_Row]],
    notes: Sequence[str],
    masks: bool,
) -> Annotations:
    position = {category.id: i for i, category in enumerate(categories)}
    box_images = np.repeat(np.arange(len(images)), [len(found) for found in rows])
    flat = [row for found in rows for row in found]
    boxes = np.array([row.box for row in flat], np.float64).reshape(-1, 4) * sizes[box_images][:, [1, 0, 1, 0]]
    return assemble(
        source=source,
        images_dir=root,
        categories=categories,
        image_ids=np.arange(1, len(images) + 1),
        image_sizes=sizes,
        file_names=[name_in(root, image) for image in images],
        box_images=box_images,
        boxes=boxes,
        areas=np.full(len(boxes), np.nan),
        labels=np.array([position[row.category] + 1 for row in flat], np.int32),
        ignore=np.zeros(len(flat), np.bool_),
        ids=np.arange(1, len(flat) + 1),
        notes=notes,
        segmentations=[_outline(row, *sizes[i]) for row, i in zip(flat, box_images, strict=True)] if masks else None,
    )


def _outline(row: _Row, height: int, width: int) -> bytes:
    """Return a polygon in COCO's format, in thousandths of a pixel, which is finer than the six digits of the files."""
    if not row.polygon:
        return b""
    xs, ys = row.polygon[0::2], row.polygon[1::2]
    pairs = zip((round(float(x * width), 3) for x in xs), (round(float(y * height), 3) for y in ys), strict=True)
    return encode([list(chain.from_iterable(pairs))])


def _categories(
    config: YoloConfig, classes: Sequence[str] | None, rows: Sequence[Sequence[_Row]]
) -> tuple[list[Category], list[str]]:
    if config.names is not None:
        return [Category(id=key, name=config.names[key]) for key in sorted(config.names)], []
    number = 1 + max((row.category for found in rows for row in found), default=0)
    if classes is not None and len(classes) >= number:
        return [Category(id=i, name=name) for i, name in enumerate(classes)], []
    note = f"no file names the classes, so they are named 0 to {number - 1}; list their names in classes.txt"
    return [Category(id=i, name=str(i)) for i in range(number)], [note]


def _images(config: YoloConfig, split: str) -> tuple[list[Path], list[str]]:
    """Return the images of a split, and notes for the user."""
    images: list[Path] = []
    notes: list[str] = []
    folders: set[Path] = set()
    others: list[Path] = []  # whose label files are none of this split's
    for found in config.splits[split]:
        if not found.exists():
            raise UserError(f"{config.path}: {found} does not exist; correct `path` or the split's folder")
        if found.is_dir():
            files = list(walk(found))
            images += [path for path in files if is_image(path)]
            others += [path for path in files if is_unread(path)]
            notes, folders = notes + left_out(files), folders | {found}
        elif found.suffix != ".txt":
            raise UserError(f"{config.path}: {found} is neither a folder of images nor a .txt list of them; correct it")
        else:
            listed, more = _listed(found, config.root, split)
            images, notes, folders = images + listed, notes + more, folders | {path.parent for path in listed}
            others += pictures({path.parent for path in listed})
    if not images:
        raise UserError(
            f"{config.path}: {config.splits[split][0]} contains no images; correct `path` or the split's folder"
        )
    return images, notes + unused_labels([*images, *others], folders)


def _listed(path: Path, root: Path, split: str) -> tuple[list[Path], list[str]]:
    """Return the images listed in a text file, whose names are relative to it or the root, or from another machine."""
    lines = read_lines(path)
    if odd := [i for i, line in enumerate(lines, start=1) if line and not is_image(Path(line))]:
        raise UserError(f"{path}: line {odd[0]} is not an image name; list one image per line")
    names = [line for line in lines if line]
    if not names:
        return [], []
    folder, names, notes = locate(names, [(path.parent, 3), (root, 3)], split)
    return [Path(os.path.normpath(folder / name)) for name in names], notes


def _read_labels(path: Path | None, config: YoloConfig, masks: bool) -> list[_Row]:
    if path is None:
        return []
    rows = []
    for i, line in enumerate(read_lines(path), start=1):
        if line:
            row = _parse(f"{path}:{i}", line, config.keypoints)
            if row.category < 0 or (config.names is not None and row.category not in config.names):
                raise UserError(
                    f"{path}:{i}: class {row.category} has no name; add one to those of {config.path}, or correct the "
                    "class"
                )
            rows.append(row if masks else row._replace(polygon=()))
    return rows


def _parse(where: str, line: str, keypoints: int) -> _Row:
    """Parse a row, whose box may be followed by `keypoints` numbers."""
    try:
        category, *values = [float(text) for text in line.split()]
    except ValueError:
        raise UserError(
            f"{where}: {line[:60]!r} is not a row of numbers; write class cx cy w h, with spaces between"
        ) from None
    if len(values) == 6 and not keypoints and values[5].is_integer() and values[5] > 1:
        raise UserError(
            f"{where}: {line[:60]!r} looks like a detection (class cx cy w h confidence track); remove the last two "
            "numbers"
        )
    if any(abs(value) > 2 for value in (values[:4] if keypoints else values)):
        raise UserError(f"{where}: {line[:60]!r} looks like pixels; write fractions of the image's size")
    if not category.is_integer():
        raise UserError(f"{where}: the class is {category:g}; write its number from data.yaml")
    if keypoints and len(values) not in (4, 4 + keypoints):
        raise UserError(
            f"{where}: has {1 + len(values)} numbers; write class cx cy w h and, as kpt_shape says, {keypoints} numbers"
        )
    if len(values) == 4 or keypoints:
        cx, cy, width, height = values[:4]
        return _Row(int(category), (cx - width / 2, cy - height / 2, width, height))
    if 2 in values:  # the visibility of a keypoint
        raise UserError(
            f"{where}: {line[:60]!r} looks like a box with keypoints; write their number as kpt_shape in data.yaml"
        )
    if len(values) < 6 or len(values) % 2:
        raise UserError(
            f"{where}: has {1 + len(values)} numbers; write class cx cy w h, or class and at least 3 pairs of x y"
        )
    xs, ys = values[0::2], values[1::2]
    box = (min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys))
    return _Row(int(category), box, tuple(values), doubtful=len(values) == 6 and ys[2] == 1)
