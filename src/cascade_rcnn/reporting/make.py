"""Write reports and comparisons from detections."""

from collections.abc import Mapping
from pathlib import Path

from cascade_rcnn.arguments import check_number
from cascade_rcnn.data.dataset import Dataset
from cascade_rcnn.engine.predictor import Precision
from cascade_rcnn.evaluation.detected import Detected
from cascade_rcnn.evaluation.metrics import LIMIT, Metrics
from cascade_rcnn.models.detector import Detector
from cascade_rcnn.reporting import comparison_page, page
from cascade_rcnn.reporting.advice import advise
from cascade_rcnn.reporting.analysis import Training, analyse
from cascade_rcnn.reporting.comparison import compare
from cascade_rcnn.reporting.evidence import Evidence
from cascade_rcnn.reporting.files import Report, write
from cascade_rcnn.reporting.stages import measure_stages
from cascade_rcnn.text import count

STAGE_IMAGES = 100  # to measure the stages on; enough for two digits of their mean IoU


def make(
    dataset: Dataset,
    found: Detected,
    folder: Path,
    *,
    facts: Mapping[str, str],
    model: Detector | None = None,
    precision: Precision = "fp32",
    training: Training | None = None,
    threshold: float | None = None,
    stage_images: int = STAGE_IMAGES,
    limit: int = LIMIT,
    metrics: Metrics | None = None,
) -> Report:
    """Write the report on detections; a given `model` is run on `stage_images` images to measure its stages.

    `facts` are shown at the top of the page, `precision` is that of the model, and the top `limit` detections per image
    and class count. `metrics` are COCO's, if they are already computed. Raises UserError if a value is out of range or
    a file cannot be written.
    """
    if threshold is not None:
        check_number("threshold", threshold, 0, 1)
    check_number("stage_images", stage_images, 0, whole=True)
    evidence = Evidence.of(dataset, found, threshold, limit=limit, measured=metrics)
    stages = None
    if model is not None and stage_images:
        boxes = dataset.with_segmentations(None)
        stages = measure_stages(model, boxes, stage_images, precision=precision, limit=limit)
    analysis = analyse(evidence, stages=stages, training=training)
    counted = f"the top {limit} detections per image and class"
    html = page.page(analysis, {**facts, "data": describe(dataset), "counted": counted})
    advice = advise(analysis)
    numbers = analysis.to_dict() | {"advice": [one._asdict() for one in advice]}
    return write(folder, html, numbers, tuple(f"{one.title}. {one.text}" for one in advice))


def make_comparison(
    datasets: tuple[Dataset, Dataset],
    found: tuple[Detected, Detected],
    folder: Path,
    *,
    names: tuple[str, str],
) -> Report:
    """Write the comparison of two sets of detections on the same data."""
    compared = compare(Evidence.of(datasets[0], found[0]), Evidence.of(datasets[1], found[1]))
    html = comparison_page.page(compared, names, {"data": describe(datasets[0])})
    numbers = {"runs": list(names), **compared.to_dict()}
    return write(folder, html, numbers, answer=comparison_page.answer(compared, names))


def describe(dataset: Dataset) -> str:
    """Describe the evaluated data: its source and its numbers of images and objects."""
    truth = dataset.annotations
    objects = int((~truth.ignore).sum())
    return f"{truth.source} ({count(len(truth), 'image')}, {count(objects, 'object')})"
