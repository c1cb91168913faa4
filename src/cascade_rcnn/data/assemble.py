"""Assemble annotations of images and boxes in any order; refuse what is invalid, and note what is suspicious."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from cascade_rcnn.config import Category
from cascade_rcnn.data.annotations import Annotations, left_out
from cascade_rcnn.data.packed import PackedStrings
from cascade_rcnn.data.segmentations import usable
from cascade_rcnn.errors import UserError

# Boxes may exceed their image by half a pixel without a note, since labelling tools round that coarsely.
_TOLERANCE = 0.5
FRACTIONS = "all boxes lie within one pixel; give pixels, not fractions of the image"
_LARGEST_AREA = 1e10  # COCO evaluation ignores larger objects, and those with a negative area
_LEAST, _MOST = 1e-3, 2  # what a mask can fill of its box, with rounding; tools write 0, or the area of the image
_LARGEST_ID = 2**53  # evaluation stores ids as float64, in which larger integers are not exact


def assemble(
    *,
    source: str | Path,
    images_dir: Path,
    categories: Sequence[Category],
    image_ids: np.ndarray,
    image_sizes: np.ndarray,
    file_names: Sequence[str],
    box_images: np.ndarray,
    boxes: np.ndarray,
    areas: np.ndarray,
    labels: np.ndarray,
    ignore: np.ndarray,
    ids: np.ndarray,
    notes: Sequence[str] = (),
    unused: Sequence[Category] = (),
    segmentations: Sequence[bytes] | None = None,
) -> Annotations:
    """Assemble annotations from boxes in any order: sort them by image, check them, and note suspicious ones.

    `box_images` (A,) holds the index of each box's image, 0..N-1; the other shapes are those of `Annotations`.
    An area is NaN if the file has none. `segmentations` (A,) are in COCO's format, as JSON; unusable ones are dropped
    with a note.
    Raises UserError if there are no images or no classes, if a class has no name, if the id of an image or a class is
    negative or too large, or if a coordinate is not finite.
    """
    _check_images_and_classes(source, image_ids.tolist(), categories)
    boxes = boxes.reshape(-1, 4)
    order = np.argsort(box_images, kind="stable")
    box_images, boxes, labels = box_images[order], boxes[order], labels[order]
    if not (finite := np.isfinite(boxes).all(axis=1)).all():
        bad, number = int(np.argmin(finite)), len(boxes) - int(finite.sum())
        name, others = file_names[box_images[bad]], f" ({number} of {len(boxes)} boxes)" if number > 1 else ""
        shown = _show(boxes[bad])
        raise UserError(f"{source}: a box in {name} is {shown}; give four finite numbers or remove it{others}")
    first = np.zeros(len(image_ids) + 1, np.int64)
    np.cumsum(np.bincount(box_images, minlength=len(image_ids)), out=first[1:])
    found = [*map(left_out, unused), *_names_twice(categories)]
    found += _problems(image_sizes, file_names, box_images, boxes, labels)
    if ignored := int(ignore.sum()):
        what = "boxes are crowds or difficult; they are ignored in training and evaluation"
        found.append(f"{ignored} of {len(boxes)} {what}")
    areas, odd = _usable_areas(areas[order], boxes, file_names, box_images)
    found += odd
    without_area = np.isnan(areas)
    areas = np.where(without_area, boxes[:, 2] * boxes[:, 3], areas)
    masks = None
    if segmentations is not None:
        texts = [segmentations[k] for k in order.tolist()]
        masks, more = usable(texts, image_sizes.reshape(-1, 2), file_names, box_images, boxes)
        found += more
    return Annotations(
        source=str(source),
        images_dir=images_dir,
        categories=tuple(categories),
        image_ids=torch.from_numpy(image_ids.astype(np.int64)),
        image_sizes=torch.from_numpy(image_sizes.reshape(-1, 2).astype(np.int32)),
        file_names=PackedStrings.pack(file_names),
        first=torch.from_numpy(first),
        boxes=torch.from_numpy(boxes.astype(np.float64)),
        areas=torch.from_numpy(areas.astype(np.float64)),
        without_area=torch.from_numpy(without_area),
        labels=torch.from_numpy(labels.astype(np.int32)),
        ignore=torch.from_numpy(ignore[order].astype(np.bool_)),
        ids=torch.from_numpy(ids[order].astype(np.int64)),
        notes=tuple(f"{source}: {note}" for note in (*notes, *found)),
        unused=tuple(unused),
        segmentations=masks,
    )


def _check_images_and_classes(source: str | Path, image_ids: Sequence[int], categories: Sequence[Category]) -> None:
    if not image_ids:
        raise UserError(f"{source}: contains no images; give a file or split with at least one")
    if not categories:
        raise UserError(f"{source}: contains no classes; name at least one")
    for category in categories:
        if not category.name.strip():
            raise UserError(f"{source}: the class with id {category.id} has no name; give it one")
    for what, numbers in (("image", image_ids), ("class", [category.id for category in categories])):
        if (wrong := next((number for number in numbers if not 0 <= number <= _LARGEST_ID), None)) is not None:
            raise UserError(f"{source}: {what} id {wrong} is not between 0 and 2**53; number them from 1")


def _names_twice(categories: Sequence[Category]) -> list[str]:
    counts = Counter(category.name for category in categories)
    twice = [name for name, number in counts.items() if number > 1]
    found = [f"two classes are named {twice[0]!r}; they remain separate"] if twice else []
    first: dict[str, str] = {}
    alike = ((first.setdefault(" ".join(name.split()).casefold(), name), name) for name in counts)
    if pair := next(((one, other) for one, other in alike if one != other), None):
        what = "differ only in case or spaces; they remain separate"
        found.append(f"the names of two classes, {pair[0]!r} and {pair[1]!r}, {what}")
    return found


def _problems(
    sizes: np.ndarray, names: Sequence[str], box_images: np.ndarray, boxes: np.ndarray, labels: np.ndarray
) -> list[str]:
    """Return one note for each kind of minor problem, with its count and first example."""
    low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    limits = sizes[box_images, ::-1]
    lost = np.any(np.minimum(high, limits) <= np.maximum(low, 0), axis=1)
    reaching = np.any((low < -_TOLERANCE) | (high > limits + _TOLERANCE), axis=1) & ~lost

    order = np.lexsort((*boxes.T, labels, box_images))
    columns = np.column_stack((box_images, labels, boxes))[order]
    repeated = np.zeros(len(boxes), np.bool_)
    repeated[order[1:]] = (columns[1:] == columns[:-1]).all(axis=1)

    def example(k: int) -> str:
        height, width = sizes[box_images[k]]
        return f"{_show(boxes[k])} in {names[box_images[k]]}, {width} x {height}"

    no_size = "boxes have no size or lie outside their image; training ignores them, but evaluation does not"
    notes = [
        *_note(reaching, "boxes reach outside their image; training clips them, evaluation does not", example),
        *_note(lost, no_size, example),
        *_note(repeated, "boxes are duplicates in the same image and class; they are kept", example),
    ]
    if len(boxes) and (boxes <= 1).all():
        notes.append(FRACTIONS)
    if empty := len(sizes) - len(np.unique(box_images)):
        notes.append(f"{empty} of {len(sizes)} images have no boxes; they count as background")
    return notes


def _usable_areas(
    areas: np.ndarray, boxes: np.ndarray, names: Sequence[str], box_images: np.ndarray
) -> tuple[np.ndarray, list[str]]:
    """Replace areas with which evaluation would ignore an object by NaN, and return notes on odd areas."""
    wrong = (areas < 0) | (areas > _LARGEST_AREA)
    sides = boxes[:, 2:].clip(min=0)
    unfit = ((areas < _LEAST * sides.prod(1)) | (areas > _MOST * (sides + 1).prod(1))) & ~wrong

    def example(k: int) -> str:
        return f"{areas[k]:g} of {_show(boxes[k])} in {names[box_images[k]]}"

    misleading = "boxes have an `area` that does not fit, but decides whether they count as small, medium or large"
    notes = _note(wrong, "boxes have an impossible area; that of the box or mask is used", example)
    return np.where(wrong, np.nan, areas), [*notes, *_note(unfit, misleading, example)]


def _note(rows: np.ndarray, text: str, example: Callable[[int], str]) -> list[str]:
    """Return a note on the boxes selected by the mask `rows` (A,), with their number and the first of them, if any."""
    if not rows.any():
        return []
    return [f"{int(rows.sum())} of {len(rows)} {text} (first: {example(int(np.argmax(rows)))})"]


def _show(box: np.ndarray) -> str:
    return "[" + ", ".join(f"{value:g}" for value in box) + "]"
