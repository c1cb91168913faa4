"""Filters of detections by class, and by per-class thresholds."""

from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor

from cascade_rcnn.arguments import check_number
from cascade_rcnn.errors import UserError, nearest
from cascade_rcnn.passes.interface import Detect, Found, rows


class Chosen:
    """A detector that only returns detections of selected classes (none: all) with their classes' minimum scores."""

    def __init__(
        self, detect: Detect, class_names: Sequence[str], classes: Sequence[str], thresholds: Mapping[str, float]
    ) -> None:
        check_names("classes", classes, class_names)
        self.detect = detect
        least = class_thresholds(class_names, thresholds, 0.0)
        never = float("inf")
        wanted = [x if not classes or name in classes else never for name, x in zip(class_names, least, strict=True)]
        self.least = [never, *wanted]

    def __call__(self, images: list[Tensor], scale: float = 1.0) -> list[Found]:
        """Detect, then filter."""
        return [self._choose(found) for found in self.detect(images, scale)]

    def _choose(self, found: Found) -> Found:
        return rows(found, found["scores"] >= found["scores"].new_tensor(self.least)[found["labels"]])


def class_thresholds(class_names: Sequence[str], thresholds: Mapping[str, float], other: float) -> list[float]:
    """Return the minimum score of each class in order, `other` for classes that `thresholds` does not name.

    Raises UserError for an unknown class, or a threshold outside 0..1.
    """
    check_number("threshold", other, 0, 1)
    if not isinstance(thresholds, Mapping):
        raise UserError(f"thresholds is a {type(thresholds).__name__}; give scores by class, such as {{'car': 0.4}}")
    check_names("thresholds", thresholds, class_names)
    for name, value in thresholds.items():
        check_number(f"thresholds: {name}", value, 0, 1)
    return [thresholds.get(name, other) for name in class_names]


def check_names(option: str, given: Iterable[str], class_names: Sequence[str]) -> None:
    """Raise UserError for a name that is not one of the model's classes."""
    for name in given:
        if name not in class_names:
            known = "" if len(class_names) > 20 else f": {', '.join(class_names)}"
            hint = nearest(name, class_names)
            raise UserError(f"{option}: the model has no class {name!r}{hint or f'; choose from its classes{known}'}")
