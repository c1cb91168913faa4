"""The ground truth of a whole dataset as a few tensors.

No Python object exists per image or box, so that worker processes share the data without copying it, whether they are
forked (no reference counts change, so copy-on-write copies nothing) or spawned (tensors travel through shared memory).
"""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from cascade_rcnn.config import Category
from cascade_rcnn.data.packed import PackedStrings
from cascade_rcnn.data.segmentations import Segmentations, usable
from cascade_rcnn.errors import UserError
from cascade_rcnn.text import count

# Boxes may exceed their image by half a pixel without a note, since labelling tools round that coarsely.
_TOLERANCE = 0.5
FRACTIONS = "all boxes lie within one pixel; give pixels, not fractions of the image"
_LARGEST_AREA = 1e10  # COCO evaluation ignores larger objects, and those with a negative area
_LEAST, _MOST = 1e-3, 2  # what a mask can fill of its box, with rounding; tools write 0, or the area of the image
_LARGEST_ID = 2**53  # evaluation stores ids as float64, in which larger integers are not exact


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Annotations:
    """Annotations of N images with A boxes in M classes. Boxes are neither clipped nor dropped, for evaluation.

    >>> annotations = load_annotations("shapes/val.json")
    >>> annotations
    <Annotations of shapes/val.json: 4 images, 20 boxes, 4 classes>
    >>> len(annotations), annotations.class_names
    (4, ['ellipse', 'rectangle', 'triangle', 'star'])
    >>> annotations.boxes[annotations.rows(0)].shape[1], annotations.path(0).name  # XYWH of the first image
    (4, '000001.png')
    """

    source: str  # the file or folder, for messages
    images_dir: Path
    categories: tuple[Category, ...]  # sorted by id; label l (1..M) is categories[l - 1]
    image_ids: Tensor  # (N,) int64
    image_sizes: Tensor  # (N, 2) int32: height, width
    file_names: PackedStrings  # N names relative to images_dir
    first: Tensor  # (N + 1,) int64: the boxes of image i are rows first[i]:first[i + 1]
    boxes: Tensor  # (A, 4) float64, XYWH in pixels as in the file
    areas: Tensor  # (A,) float64, as in the file, or w * h if it has none or an impossible one
    without_area: Tensor  # (A,) bool: the file has none
    labels: Tensor  # (A,) int32, 1..M
    ignore: Tensor  # (A,) bool: COCO's iscrowd, PASCAL's difficult
    ids: Tensor  # (A,) int64
    notes: tuple[str, ...]  # one line for each kind of minor problem in the data
    unused: tuple[Category, ...] = ()  # declared, but left out, as it only groups the others and has no boxes
    segmentations: Segmentations | None = None  # of the A objects; None unless requested and present

    def __repr__(self) -> str:
        """Return a line, as a notebook shows it."""
        numbers = (len(self), "image"), (len(self.boxes), "box"), (len(self.categories), "class")
        return f"<Annotations of {self.source}: {', '.join(count(*one) for one in numbers)}>"

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.image_ids)

    @property
    def class_names(self) -> list[str]:
        """The names of labels 1..M, in order."""
        return [category.name for category in self.categories]

    @property
    def owners(self) -> Tensor:
        """The index 0..N-1 of each box's image, (A,) int64."""
        return torch.arange(len(self), device=self.first.device).repeat_interleave(self.first.diff())

    @property
    def shown(self) -> np.ndarray:
        """Whether each image shows each class, (N, M) bool; ignored objects do not count."""
        found = np.zeros((len(self), len(self.categories)), np.bool_)
        found[self.owners[~self.ignore], self.labels[~self.ignore].long() - 1] = True
        return found

    def path(self, i: int) -> Path:
        """Return the path of image i."""
        return self.images_dir / self.file_names[i]

    def name_of(self, image_id: int) -> str:
        """Return the file name of the image with this id."""
        return self.file_names[int((self.image_ids == image_id).nonzero()[0])]

    def rows(self, i: int) -> slice:
        """Return the rows of image i's boxes."""
        start, end = self.first[i : i + 2].tolist()
        return slice(start, end)

    def with_notes(self, notes: Sequence[str]) -> Self:
        """Return a copy with additional notes, each prefixed with the source."""
        return dataclasses.replace(self, notes=(*self.notes, *(f"{self.source}: {note}" for note in notes)))

    def declaring(self, categories: Iterable[Category]) -> Self:
        """Return a copy with the class that was left out as unused, if `categories` includes it; otherwise, self."""
        restored = tuple(sorted((*self.unused, *self.categories), key=lambda category: category.id))
        if not self.unused or restored != tuple(categories):
            return self
        places = self.labels.new_tensor([restored.index(category) + 1 for category in self.categories])
        wrong = {f"{self.source}: {_left_out(category)}" for category in self.unused}
        notes = tuple(note for note in self.notes if note not in wrong)
        labels = places[self.labels.long() - 1]
        return dataclasses.replace(self, categories=restored, unused=(), labels=labels, notes=notes)

    def select(self, kept: np.ndarray) -> Self:
        """Return a copy with only the images selected by the mask `kept` (N,), and their boxes; notes are kept."""
        images = torch.from_numpy(np.flatnonzero(kept))
        rows = torch.from_numpy(kept)[self.owners]
        names = PackedStrings.pack([self.file_names[i] for i in images.tolist()])
        first = torch.cat((self.first[:1], self.first.diff()[images].cumsum(0)))
        of_boxes = ("boxes", "areas", "without_area", "labels", "ignore", "ids")
        columns = {name: getattr(self, name)[rows] for name in of_boxes}
        sizes, ids = self.image_sizes[images], self.image_ids[images]
        masks = None if self.segmentations is None else self.segmentations.select(rows.numpy())
        changes = {"image_ids": ids, "image_sizes": sizes, "file_names": names, "first": first, "segmentations": masks}
        return dataclasses.replace(self, **changes, **columns)

    def share_memory(self) -> Self:
        """Move every column into shared memory, in place, and return self."""
        for owner in filter(None, (self, self.file_names, self.segmentations)):
            for field in dataclasses.fields(owner):
                value = getattr(owner, field.name)
                if isinstance(value, Tensor):
                    value.share_memory_()
        return self


def check_annotations(given: object) -> None:
    """Raise UserError for anything else, such as the path of a file."""
    if not isinstance(given, Annotations):
        raise UserError(f"annotations is a {type(given).__name__}; give what cascade_rcnn.load_annotations returns")


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
        bad = int(np.argmin(finite))
        name = file_names[box_images[bad]]
        raise UserError(f"{source}: a box in {name} is {_show(boxes[bad])}; give four finite numbers or remove it")
    first = np.zeros(len(image_ids) + 1, np.int64)
    np.cumsum(np.bincount(box_images, minlength=len(image_ids)), out=first[1:])
    found = [*map(_left_out, unused), *_names_twice(categories)]
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


def _left_out(category: Category) -> str:
    return f"class {category.name!r} (id {category.id}) only groups the others and has no boxes; it is ignored"


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
    lost = (np.minimum(high, limits) <= np.maximum(low, 0)).any(axis=1)
    reaching = ((low < -_TOLERANCE) | (high > limits + _TOLERANCE)).any(axis=1) & ~lost

    order = np.lexsort((*boxes.T, labels, box_images))
    columns = np.column_stack((box_images, labels, boxes))[order]
    repeated = np.zeros(len(boxes), np.bool_)
    repeated[order[1:]] = (columns[1:] == columns[:-1]).all(axis=1)

    notes = []
    for rows, text in (
        (reaching, "boxes reach outside their image; training clips them, evaluation does not"),
        (lost, "boxes have no size or lie outside their image; training ignores them, but evaluation does not"),
        (repeated, "boxes are duplicates in the same image and class; they are kept"),
    ):
        if count := int(rows.sum()):
            k = int(np.argmax(rows))
            height, width = sizes[box_images[k]]
            example = f"{_show(boxes[k])} in {names[box_images[k]]}, {width} x {height}"
            notes.append(f"{count} of {len(boxes)} {text} (first: {example})")
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
    notes = []
    for rows, text in (
        (wrong, "boxes have an impossible area; that of the box or mask is used"),
        (unfit, "boxes have an `area` that does not fit, but decides whether they count as small, medium or large"),
    ):
        if count := int(rows.sum()):
            k = int(np.argmax(rows))
            example = f"{areas[k]:g} of {_show(boxes[k])} in {names[box_images[k]]}"
            notes.append(f"{count} of {len(boxes)} {text} (first: {example})")
    return np.where(wrong, np.nan, areas), notes


def _show(box: np.ndarray) -> str:
    return "[" + ", ".join(f"{value:g}" for value in box) + "]"
