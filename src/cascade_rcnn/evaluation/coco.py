"""COCO metrics of boxes by hotcoco: identical to pycocotools to six digits, and an order of magnitude faster.

Detections are one array (N, 7) float64: image id, x, y, width, height, score, category id.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self, TypeAlias

import hotcoco
import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from cascade_rcnn.data.annotations import Annotations
from cascade_rcnn.errors import UserError
from cascade_rcnn.evaluation.detected import COLUMNS
from cascade_rcnn.files import write_json
from cascade_rcnn.text import count, printable

Array: TypeAlias = np.ndarray

IOU_THRESHOLDS = tuple(percent / 100 for percent in range(50, 100, 5))
LIMIT = 100  # detections per image and class that count in COCO

_PARTS = ("masks", "boundaries")  # fields of `Metrics` that are `Metrics` themselves


@dataclass(frozen=True, kw_only=True)
class ClassMetrics:
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


@dataclass(frozen=True, kw_only=True)
class Metrics:
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


def evaluate_boxes(
    ground_truth: Annotations, detections: Array, *, source: str | Path = "detections", limit: int = LIMIT
) -> Metrics:
    """Compute COCO metrics of detections (N, 7) float64, in any order; the top `limit` per image and class count.

    A ground-truth box marked `ignore` is a crowd: detections inside it are neither true nor false positives.
    Raises UserError, naming `source` and the entry, for a detection that is not finite or has an unknown image or
    category.
    """
    detections = np.ascontiguousarray(detections, dtype=np.float64)
    check_detections(detections, ground_truth, source)
    reference = to_hotcoco(ground_truth)
    return compute_metrics(ground_truth, reference, reference.load_res(detections), "bbox", limit)


def compute_metrics(
    truth: Annotations, reference: hotcoco.COCO, found: hotcoco.COCO, kind: Literal["bbox", "segm"], limit: int
) -> Metrics:
    """Compute COCO metrics of boxes or masks, given ground truth and detections in hotcoco's format."""
    evaluation = hotcoco.COCOeval(reference, found, kind)
    evaluation.params.max_dets = limits(limit)
    evaluation.evaluate()
    evaluation.accumulate()
    results = evaluation.eval
    assert results is not None  # accumulate() sets it
    return summarise(truth, results["precision"], results["recall"], evaluation.params.cat_ids, limit)


def limits(limit: int) -> list[int]:
    """Return the three limits of detections per image and class for which recall is averaged, in ascending order."""
    return [1, min(10, limit), limit]


def crowding_note(truth: Annotations, limit: int = LIMIT) -> str | None:
    """Return a warning if an image has more objects of a class than detections that count."""
    image = np.repeat(np.arange(len(truth)), np.diff(truth.first.numpy()))
    real = ~truth.ignore.numpy()
    cells, numbers = np.unique(np.stack([image[real], truth.labels.numpy()[real]]), axis=1, return_counts=True)
    if not len(numbers) or numbers.max() <= limit:
        return None
    name = truth.file_names[int(cells[0, numbers.argmax()])]
    return (
        f"only the top {limit} detections per image and class count, but {name} has {numbers.max()} "
        "objects of one class; raise --max-detections to count them all"
    )


def check_detections(detections: Array, ground_truth: Annotations, source: str | Path) -> None:
    """Raise UserError, naming `source` and the entry, for detections (N, 7) that cannot be evaluated."""
    if detections.ndim != 2 or detections.shape[1] != COLUMNS:
        raise UserError(f"{source}: has shape {detections.shape}; give (N, 7): image, x, y, w, h, score, class")
    images, categories = detections[:, 0], detections[:, 6]
    known_categories = np.array([category.id for category in ground_truth.categories], dtype=np.float64)
    problems = (
        (~np.isfinite(detections).all(axis=1), "a value that is not finite; remove it"),
        ((detections[:, 3:5] < 0).any(axis=1), "a negative width or height; give boxes as x, y, width, height"),
        (
            ~np.isin(images, ground_truth.image_ids.numpy().astype(np.float64)),
            f"an image id that is not in {ground_truth.source}; remove it",
        ),
        (
            ~np.isin(categories, known_categories),
            f"a category id that is not in {ground_truth.source}; correct the ids, or remove it",
        ),
    )
    for wrong, what in problems:
        if wrong.any():
            entry = int(wrong.argmax())
            row = detections[entry].tolist()
            raise UserError(f"{source}: entry {entry} (image id {row[0]:g}, category id {row[6]:g}) has {what}")


def to_hotcoco(truth: Annotations, outlines: list[Any] | None = None) -> hotcoco.COCO:
    """Convert the ground truth to hotcoco's format; masks need `outlines`, the objects' segmentations."""
    sizes = zip(truth.image_ids.tolist(), truth.image_sizes.tolist(), strict=True)
    category_ids = np.array([category.id for category in truth.categories], dtype=np.int64)
    count = len(truth.boxes)
    return hotcoco.COCO.from_arrays(
        [{"id": identity, "height": height, "width": width} for identity, (height, width) in sizes],
        [{"id": category.id, "name": category.name} for category in truth.categories],
        np.repeat(truth.image_ids.numpy(), np.diff(truth.first.numpy())),
        category_ids[truth.labels.numpy() - 1],
        truth.boxes.numpy(),
        ids=np.arange(1, count + 1),  # never 0, which means "unmatched" in pycocotools
        area=truth.areas.numpy(),
        iscrowd=truth.ignore.numpy(),
        segmentation=outlines,
    )


def summarise(truth: Annotations, precision: Array, recall: Array, category_ids: Sequence[int], limit: int) -> Metrics:
    """Average the accumulated precision (10, 101, M, 4, 3) and recall (10, M, 4, 3) to metrics.

    The axes are IoU thresholds, recalls, classes, areas (all, small, medium, large) and `limits(limit)`; -1 means no
    ground truth.
    """
    by_iou = tuple(_mean(at_iou) for at_iou in precision[..., 0, -1])
    at = dict(zip(range(50, 100, 5), by_iou, strict=True))
    real = truth.labels.numpy()[~truth.ignore.numpy()]
    boxes = np.bincount(real, minlength=len(truth.categories) + 1)[1:].tolist()
    rows = {category_id: precision[:, :, k, 0, -1] for k, category_id in enumerate(category_ids)}
    classes = []
    for category, number in zip(truth.categories, boxes, strict=True):
        mine = rows[category.id]
        values = {"ap": _mean(mine), "ap50": _mean(mine[0]), "ap75": _mean(mine[5])}
        classes.append(ClassMetrics(name=category.name, boxes=number, **values))
    names = ("all", "small", "medium", "large")
    ap_by_area = {name: _mean(precision[..., area, -1]) for area, name in enumerate(names)}
    ar_by_area = {name: _mean(recall[..., area, -1]) for area, name in enumerate(names)}
    return Metrics(
        ap=ap_by_area["all"], ap50=at[50], ap60=at[60], ap70=at[70], ap75=at[75], ap80=at[80], ap90=at[90],
        ap_small=ap_by_area["small"], ap_medium=ap_by_area["medium"], ap_large=ap_by_area["large"],
        ar1=_mean(recall[..., 0, 0]), ar10=_mean(recall[..., 0, 1]), ar100=ar_by_area["all"],
        ar_small=ar_by_area["small"], ar_medium=ar_by_area["medium"], ar_large=ar_by_area["large"],
        precision_by_iou=by_iou, per_class=tuple(classes), images=len(truth.image_ids), boxes=len(real),
        max_detections=limit,
    )  # fmt: skip


def _mean(values: Array) -> float:
    known = values[values > -1]
    return float(known.mean()) if known.size else math.nan


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
