"""The ground truth of a whole dataset as a few tensors.

No Python object exists per image or box, so that worker processes share the data without copying it, whether they are
forked (no reference counts change, so copy-on-write copies nothing) or spawned (tensors travel through shared memory).
"""

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from cascade_rcnn.config import Category
from cascade_rcnn.data.packed import PackedStrings
from cascade_rcnn.data.segmentations import Segmentations
from cascade_rcnn.errors import UserError
from cascade_rcnn.text import count


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
        wrong = {f"{self.source}: {left_out(category)}" for category in self.unused}
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


def left_out(category: Category) -> str:
    """Return the note on a class of `unused`."""
    return f"class {category.name!r} (id {category.id}) only groups the others and has no boxes; it is ignored"
