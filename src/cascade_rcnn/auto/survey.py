"""Survey annotations: numbers of images and boxes, their sizes and classes."""

from dataclasses import dataclass

import numpy as np

from cascade_rcnn.data.annotations import Annotations
from cascade_rcnn.data.repeats import repeat_factors
from cascade_rcnn.errors import UserError
from cascade_rcnn.text import count

RARE = 20  # boxes; classes with fewer are hardly learned
_NAMED = 5  # classes named in a line


@dataclass(frozen=True, kw_only=True, eq=False)
class Survey:
    """Statistics of N images and their A boxes, without ignored ones."""

    sizes: np.ndarray  # (N, 2): height and width of the images
    shapes: np.ndarray  # (A, 2): width and height of the boxes, clipped to their images; positive
    owners: np.ndarray  # (A,): the image of each box
    classes: list[tuple[str, int]]  # name and number of boxes of each class; names may occur twice
    repeats: np.ndarray | None = None  # (N,): repeat factors of the images

    @property
    def images(self) -> int:
        """The number of images, N."""
        return len(self.sizes)

    @property
    def short_side(self) -> float:
        """The median short side of the images, in pixels."""
        return float(np.median(self.sizes.min(axis=1)))

    def resized(self, shortest: int, longest: int) -> np.ndarray:
        """Return the widths and heights (A, 2) of the boxes after resizing the images to these short and long sides."""
        scale = np.minimum(shortest / self.sizes.min(axis=1), longest / self.sizes.max(axis=1))
        return self.shapes * scale[self.owners, None]

    def __str__(self) -> str:
        height, width = np.median(self.sizes, axis=0)
        alike = "" if (self.sizes == self.sizes[0]).all() else "about "
        ordered = sorted(self.classes, key=lambda item: -item[1])
        named = ", ".join(f"{name} {number}" for name, number in ordered[:_NAMED])
        more = ", ..." if len(ordered) > _NAMED else ""
        images = f"{count(self.images, 'image')} of {alike}{width:g} x {height:g} pixels"
        return f"{images}, {count(len(self.shapes), 'box')} of {count(len(ordered), 'class')} ({named}{more})"

    @property
    def warnings(self) -> list[str]:
        """Problems of the data that no setting can solve."""
        rare = [f"{name} {number}" for name, number in self.classes if number < RARE]
        named = ", ".join(rare[:_NAMED]) + (", ..." if len(rare) > _NAMED else "")
        return [f"classes with fewer than {RARE} boxes will hardly be learned: {named}"] if rare else []


def survey(annotations: Annotations, repeat_rare: float = 0.0) -> Survey:
    """Summarise annotations, with the repeat factors for the threshold `repeat_rare`.

    Raises UserError if there are no boxes to train on.
    """
    check_learned(annotations)
    rows, shapes = learned(annotations)
    numbers = np.bincount(annotations.labels.numpy()[rows] - 1, minlength=len(annotations.categories))
    return Survey(
        sizes=annotations.image_sizes.numpy().astype(np.float64),
        shapes=shapes,
        owners=annotations.owners.numpy()[rows],
        classes=list(zip(annotations.class_names, numbers.tolist(), strict=True)),
        repeats=repeat_factors(annotations, repeat_rare),
    )


def check_learned(annotations: Annotations) -> None:
    """Raise UserError if there are no boxes to train on."""
    if len(learned(annotations)[0]):
        return
    number = len(annotations.boxes)
    why = f", as all {number} are crowds, difficult, empty or outside their image" if number else ""
    raise UserError(f"{annotations.source}: there are no boxes to learn from{why}; check the annotations")


def learned(annotations: Annotations) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows (A,) of the boxes to train on, and their widths and heights (A, 2), clipped to their images."""
    low, extent = np.split(annotations.boxes.numpy(), 2, axis=1)
    limits = annotations.image_sizes[annotations.owners].numpy().astype(np.float64)[:, ::-1]
    shapes = np.clip(low + extent, 0, limits) - np.clip(low, 0, limits)
    rows = np.flatnonzero((shapes > 0).all(axis=1) & ~annotations.ignore.numpy())
    return rows, shapes[rows]
