"""COCO metrics as a result: their names, their table, and their JSON."""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from cascade_rcnn.files import write_json
from cascade_rcnn.text import count, printable

IOU_THRESHOLDS = tuple(percent / 100 for percent in range(50, 100, 5))
LIMIT = 100  # detections per image and class that count in COCO

_PARTS = ("masks", "boundaries")  # fields of `Metrics` that are `Metrics` themselves


class _Compared:
    """Equal if all values are, NaN to NaN too; what a dataclass does itself depends on the version of Python."""

    def __eq__(self, other: object) -> bool:
        return nan_to_none(vars(self)) == nan_to_none(vars(other)) if type(other) is type(self) else NotImplemented

    def __hash__(self) -> int:
        return hash(repr(self))


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassMetrics(_Compared):
    """Metrics of one class: AP in 0..1 (NaN without ground truth) and number of ground-truth boxes, without crowds.

    >>> person = evaluate("starter", "people.json", workers=0).per_class[0]
    >>> person.name, person.boxes > 0
    ('person', True)
    """

    name: str
    ap: float
    ap50: float
    ap75: float
    boxes: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Metrics(_Compared):
    """COCO metrics of boxes in 0..1, and those of masks in `masks`; NaN if there is no ground truth (pycocotools: -1).

    `ap` is the mean over IoU 0.50:0.05:0.95, `precision_by_iou` the AP at each of these ten thresholds, `ar10` the
    average recall with ten detections per image and class, and `ar100` with all that count (`max_detections`); small,
    medium and large are separated at areas of 32 x 32 and 96 x 96.

    >>> metrics = evaluate("starter", "people.json", workers=0)
    >>> metrics.ap <= metrics.ap50, len(metrics.precision_by_iou)
    (True, 10)
    >>> metrics.save("metrics.json")
    """

    ap: float
    ap50: float
    ap60: float
    ap70: float
    ap75: float
    ap80: float
    ap90: float
    ap_small: float
    ap_medium: float
    ap_large: float
    ar1: float
    ar10: float
    ar100: float
    ar_small: float
    ar_medium: float
    ar_large: float
    precision_by_iou: tuple[float, ...]
    per_class: tuple[ClassMetrics, ...]
    images: int
    boxes: int
    max_detections: int = LIMIT  # per image and class, that counted
    masks: "Metrics | None" = None  # the same for masks, with mask IoU and areas of masks
    boundaries: "Metrics | None" = None  # the same for masks, with boundary IoU

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain JSON values; NaN becomes None."""
        values = nan_to_none(dataclasses.asdict(dataclasses.replace(self, masks=None, boundaries=None)))
        parts = {name: part.to_dict() for name in _PARTS if (part := getattr(self, name)) is not None}
        return {name: value for name, value in values.items() if name not in _PARTS} | parts

    def save(self, path: str | Path) -> None:
        """Write the metrics as JSON, atomically."""
        write_json(Path(path), self.to_dict())

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Invert `to_dict`, also after a round trip through JSON."""
        by_iou = [_none_to_nan(value) for value in values["precision_by_iou"]]
        classes = [ClassMetrics(**{k: _none_to_nan(v) for k, v in one.items()}) for one in values["per_class"]]
        plain = {name: _none_to_nan(value) for name, value in values.items()}
        plain |= {name: cls.from_dict(part) for name in _PARTS if (part := values.get(name)) is not None}
        return cls(**plain | {"precision_by_iou": tuple(by_iou), "per_class": tuple(classes)})

    def table(self, width: int = 80, noun: str = "box") -> Table:
        """Format the metrics, 0..1, as a table of at most `width` columns: a row for the dataset and one per class.

        `noun` names the objects: box, or mask for the table of `masks`.
        """
        shown = [one for one in _COLUMNS if width >= _WIDE or one.always]
        table = Table(
            title=f"{count(self.images, 'image')}, {count(self.boxes, noun)}; metrics from 0 to 1",
            box=SIMPLE_HEAD,
            padding=0,
            show_edge=False,
        )
        numbers = 6 * len(shown) + max(6, len(str(self.boxes)) + 1)  # names may be truncated, numbers never
        table.add_column("class", no_wrap=True, max_width=max(8, width - numbers))
        table.add_column(count(0, noun).removeprefix("0 "), justify="right", no_wrap=True)
        for one in shown:
            head = f"AR{self.max_detections}" if one.name == "ar100" else one.head
            table.add_column(head, justify="right", no_wrap=True, min_width=5)
        table.add_row("all", str(self.boxes), *(_cell(getattr(self, one.name)) for one in shown))
        table.add_section()
        for row in self.per_class:  # as Text, since names are not markup
            cells = (_cell(getattr(row, one.name, None)) for one in shown)
            table.add_row(Text(printable(row.name)), str(row.boxes), *cells)
        return table


class _Column(NamedTuple):
    head: str
    name: str
    always: bool = True  # otherwise only in wide tables


_WIDE = 110
_COLUMNS = (
    *(_Column("AP", "ap"), _Column("AP50", "ap50"), _Column("AP60", "ap60", False), _Column("AP70", "ap70", False)),
    *(_Column("AP75", "ap75"), _Column("AP80", "ap80", False), _Column("AP90", "ap90"), _Column("APs", "ap_small")),
    *(_Column("APm", "ap_medium"), _Column("APl", "ap_large"), _Column("AR1", "ar1", False)),
    *(_Column("AR10", "ar10", False), _Column("AR100", "ar100")),
)


def _cell(value: float | None) -> str:
    if value is None:
        return ""
    return "-" if math.isnan(value) else f"{value:.3f}"


def nan_to_none(value: Any) -> Any:
    """Replace every NaN in nested dicts and lists by None, for JSON."""
    match value:
        case float():
            return None if math.isnan(value) else value
        case dict():
            return {key: nan_to_none(item) for key, item in value.items()}
        case list() | tuple():
            return [nan_to_none(item) for item in value]
        case _:
            return value


def _none_to_nan(value: Any) -> Any:
    return math.nan if value is None else value
