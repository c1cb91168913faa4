"""The splits of a dataset: their annotations, and the properties of their image files."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cascade_rcnn.data.annotations import Annotations
from cascade_rcnn.inspection.findings import Record
from cascade_rcnn.inspection.scan import SIDE, Seen, scan


@dataclass(frozen=True, eq=False)
class Split:
    """A split with N images and A boxes, numbered as in its annotations."""

    name: str
    is_training: bool
    annotations: Annotations
    sizes: np.ndarray  # (N, 2): height and width of the upright images; 0 if unreadable
    formats: tuple[str, ...]
    orientations: np.ndarray  # (N,)
    digests: list[bytes]
    hashes: np.ndarray  # (N,) uint64
    shades: np.ndarray  # (N, SIDE * SIDE) uint8
    peaks: dict[int, int]  # the largest value of each image in 16-bit greyscale
    problems: dict[int, str]  # error message by image
    missing: frozenset[int]  # images without a file

    @property
    def boxes(self) -> int:
        """The number of boxes, without ignored ones."""
        return int((~self.annotations.ignore).sum())

    @cached_property
    def owners(self) -> np.ndarray:
        """The image of each box, (A,)."""
        return self.annotations.owners.numpy()

    @cached_property
    def usable(self) -> np.ndarray:
        """Whether each image can be read and has the annotated size, (N,)."""
        return (self.sizes > 0).all(axis=1) & (self.sizes == self.annotations.image_sizes.numpy()).all(axis=1)

    @cached_property
    def sized(self) -> np.ndarray:
        """Whether the annotated image size of each box is known, (A,)."""
        known = np.asarray((self.annotations.image_sizes.numpy() > 0).all(axis=1))
        return known[self.owners]

    def image(self, i: int, detail: str = "", other: Record | None = None) -> Record:
        """Return the record of an image."""
        truth = self.annotations
        return Record(
            split=self.name,
            image=truth.file_names[i],
            path=str(truth.path(i)),
            image_id=int(truth.image_ids[i]),
            detail=detail,
            other=other,
        )

    def box(self, row: int, detail: str = "", other: Record | None = None) -> Record:
        """Return the record of a box."""
        truth, i = self.annotations, int(self.owners[row])
        x, y, width, height = truth.boxes[row].tolist()
        return Record(
            split=self.name,
            image=truth.file_names[i],
            path=str(truth.path(i)),
            image_id=int(truth.image_ids[i]),
            annotation_id=int(truth.ids[row]),
            index=row - int(truth.first[i]),
            box=(x, y, width, height),
            label=truth.categories[int(truth.labels[row]) - 1].name,
            detail=detail,
            other=other,
        )

    def boxes_of(self, name: str) -> np.ndarray:
        """Return the rows of a class's boxes, without ignored ones."""
        numbers = [k for k, category in enumerate(self.annotations.categories, start=1) if category.name == name]
        return np.flatnonzero(np.isin(self.annotations.labels.numpy(), numbers) & ~self.annotations.ignore.numpy())


def read_split(
    name: str, annotations: Annotations, *, is_training: bool, max_megapixels: float, advance: Callable[[int], None]
) -> Split:
    """Scan the images of a split; `advance` is called with the number of images done."""
    number = len(annotations)
    sizes, orientations = np.zeros((number, 2), np.int64), np.ones(number, np.int64)
    hashes, shades = np.zeros(number, np.uint64), np.zeros((number, SIDE * SIDE), np.uint8)
    formats: list[str] = []
    digests: list[bytes] = []
    peaks: dict[int, int] = {}
    problems: dict[int, str] = {}
    missing: set[int] = set()
    paths = [annotations.path(i) for i in range(number)]
    seen: Seen
    for i, seen in enumerate(scan(paths, max_megapixels, advance)):
        sizes[i], orientations[i], hashes[i], shades[i] = seen.size, seen.orientation, seen.difference, seen.shades
        formats.append(seen.format)
        digests.append(seen.digest)
        if seen.peak is not None:
            peaks[i] = seen.peak
        if seen.problem:
            problems[i] = seen.problem
        if seen.missing:
            missing.add(i)
    return Split(
        name,
        is_training,
        annotations,
        sizes,
        tuple(formats),
        orientations,
        digests,
        hashes,
        shades,
        peaks,
        problems,
        frozenset(missing),
    )


def training_of(splits: Sequence[Split]) -> Split | None:
    """Return the training split, if there is one."""
    return next((split for split in splits if split.is_training), None)
