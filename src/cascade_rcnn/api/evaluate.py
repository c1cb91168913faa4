"""Evaluation of models and detections on a dataset."""

from functools import partial
from pathlib import Path

import numpy as np

from cascade_rcnn.api.models import Model, open_model
from cascade_rcnn.api.notes import tell
from cascade_rcnn.arguments import check_number
from cascade_rcnn.data import Annotations, load_annotations
from cascade_rcnn.data.check import BadImages
from cascade_rcnn.data.load import check_only_of_files
from cascade_rcnn.engine.datasets import Classes, Data, as_dataset, check_names, files_of, meaning
from cascade_rcnn.engine.evaluate import check_classes, collect, evaluation_loader
from cascade_rcnn.engine.predictor import Precision
from cascade_rcnn.errors import UserError
from cascade_rcnn.evaluation import Metrics
from cascade_rcnn.evaluation import save_detections as write
from cascade_rcnn.evaluation.boundaries import check_installed
from cascade_rcnn.evaluation.coco import crowding_notes
from cascade_rcnn.evaluation.detections import have_masks, load_detected
from cascade_rcnn.evaluation.doubts import doubts
from cascade_rcnn.evaluation.masks import evaluate_detected, unmeasured
from cascade_rcnn.evaluation.metrics import LIMIT
from cascade_rcnn.images.decoding import MAX_MEGAPIXELS
from cascade_rcnn.models.preprocess import MinSize
from cascade_rcnn.outputs import check_outputs
from cascade_rcnn.reporting.files import report_files
from cascade_rcnn.reporting.make import make
from cascade_rcnn.runtime import is_exported
from cascade_rcnn.text import count


def evaluate(
    model: Model,
    data: Data,
    *,
    images: str | Path | None = None,
    split: str | None = None,
    classes: Classes | None = None,
    batch_size: int = 1,
    workers: int = 2,
    device: str | None = None,
    precision: Precision = "fp32",
    min_size: MinSize = "model",
    bad_images: BadImages = "stop",
    max_megapixels: float = MAX_MEGAPIXELS,
    max_detections: int = LIMIT,
    boundary: bool = False,
    save_detections: str | Path | None = None,
    report: str | Path | None = None,
    trust: bool = False,
) -> Metrics:
    """Compute COCO metrics of a model, and of its masks (`metrics.masks`) if both model and data have masks.

    `model` is a `Detector`, `Predictor` or `Runtime`, or the path of a checkpoint or exported file. `data` is a path in
    any format that `load_annotations` reads (with its `images` and `split`), `Annotations`, or a torchvision-style
    dataset (`DetectionData`), whose labels are the model's 1..M unless `classes` names them.

    `device` (default: a GPU if there is one), `precision`, `min_size` (short side in pixels) and `trust` (see
    `Runtime`) apply to models given by path. The `max_detections` detections per image and class with the highest
    scores count (100 in COCO). `bad_images="skip"` leaves out unusable images, such as those of more than
    `max_megapixels`. `boundary` adds the boundary AP of masks, `metrics.boundaries` (extra `boundary`).
    `save_detections` is a COCO results file to write, and `report` a folder for an HTML report, as written by
    `cascade_rcnn.report`. Raises UserError if model and data do not match, or something cannot be read.

    >>> metrics = evaluate("starter", "people.json", workers=0)
    >>> round(metrics.ap50, 2)
    1.0

    A custom dataset, here a list with one image and no people:

    >>> empty = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    >>> evaluate(load("starter"), [(torch.zeros(3, 64, 64), empty)], workers=0).images
    1
    """
    if boundary:
        check_installed()
    check_only_of_files(data, images=images, split=split)
    outputs = (save_detections, *report_files(report))
    check_outputs(outputs, (model, data, images))
    is_checkpoint = isinstance(model, str | Path) and not is_exported(model)
    more = max_detections if is_checkpoint and max_detections > LIMIT else None
    opened = open_model(model, device=device, precision=precision, min_size=min_size, trust=trust, max_detections=more)
    if boundary and not opened.config.tasks:
        raise UserError(f"{opened.name}: the model has no masks, and therefore no boundary AP; omit the option")
    path, given = (data, None) if isinstance(data, str | Path) else ("", data)
    read = partial(load_annotations, path, images, split, opened.class_names, bad_images=bad_images)
    given = read() if given is None else given
    check_names(classes, given)
    labels = meaning(classes, opened.config.categories)
    dataset = as_dataset(
        given,
        labels,
        masks=True,
        bad_images=bad_images,
        max_megapixels=max_megapixels,
        workers=workers,
        evaluated=True,
    )
    truth = dataset.annotations
    check_classes(opened.config, truth, opened.name)
    own = opened.config.inference.max_detections
    fixed = max_detections > max(own, LIMIT)  # by whoever loaded or exported the model
    _tell(truth, max_detections, None if fixed else own)
    if fixed:
        most = count(own, "object")
        tell([f"{opened.name}: finds at most {most} per image; load or export it with more max_detections"])
    check_outputs(outputs, files_of(truth))
    found = collect(opened.detect, opened.config, evaluation_loader(dataset, batch_size, workers), len(dataset))
    if found.masks is not None and path:  # read only now, as masks take time and memory
        truth = _same_images(read(masks=True), truth)
    if found.masks is not None:
        tell(unmeasured(truth))
    if save_detections is not None:
        write(save_detections, found.rows, truth, found.masks)
    metrics = evaluate_detected(truth, found, source=opened.name, limit=max_detections, boundary=boundary)
    if report is not None:
        make(
            dataset.with_segmentations(truth.segmentations),
            found,
            Path(report),
            facts={"model": opened.name},
            model=opened.detector,
            precision=opened.settings["precision"],
            limit=max_detections,
            metrics=metrics,
        )
    return metrics


def evaluate_detections(
    detections: str | Path,
    annotations: str | Path | Annotations,
    *,
    images: str | Path | None = None,
    split: str | None = None,
    bad_images: BadImages = "stop",
    max_detections: int = LIMIT,
    boundary: bool = False,
    save_detections: str | Path | None = None,
    report: str | Path | None = None,
) -> Metrics:
    """Compute COCO metrics of detections in a COCO results file from any source.

    `annotations`, `images`, `split` and `bad_images` are as in `load_annotations`, and `max_detections` and `boundary`
    as in `evaluate`. Entries with `file_name` and `category_name` (which this package writes) are matched by these, and
    `save_detections` writes them with the ids of the annotations. `report` is a folder for an HTML report, without the
    section on stages, which requires the model; as it shows the images, these are checked as in `evaluate`. Raises
    UserError, naming the entry, if one is invalid.

    >>> _ = evaluate("starter", "people.json", workers=0, save_detections="people_found.json")
    >>> evaluate_detections("people_found.json", "people.json").images
    1
    """
    if boundary:
        check_installed()
    check_only_of_files(annotations, images=images, split=split)
    outputs = (save_detections, *report_files(report))
    check_outputs(outputs, (detections, annotations, images))
    masks = boundary or have_masks(detections)
    if not isinstance(annotations, Annotations):
        annotations = load_annotations(annotations, images, split, masks=masks, bad_images=bad_images)
    check_outputs(outputs, files_of(annotations))
    dataset = None if report is None else as_dataset(annotations, bad_images=bad_images, evaluated=True)
    truth = annotations if dataset is None else dataset.annotations  # a report leaves out unusable images
    _tell(truth, max_detections)
    tell(unmeasured(truth) if masks else [])
    found = load_detected(detections, annotations)
    if save_detections is not None:
        write(save_detections, found.rows, annotations, found.masks)
    found = found.in_images(truth.image_ids.numpy())
    metrics = evaluate_detected(truth, found, source=detections, limit=max_detections, boundary=boundary)
    if dataset is not None and report is not None:
        facts = {"detections": str(detections)}
        make(dataset, found, Path(report), facts=facts, limit=max_detections, metrics=metrics)
    tell([f"{detections}: {note}" for note in doubts(found.rows, truth)])
    return metrics


def _same_images(annotations: Annotations, others: Annotations) -> Annotations:
    """Return the annotations of the images that `others` contains, and print notes that are new."""
    tell([note for note in annotations.notes if note not in others.notes])
    return annotations.select(np.isin(annotations.image_ids.numpy(), others.image_ids.numpy()))


def _tell(truth: Annotations, limit: int, most: int | None = None) -> None:
    check_number("max-detections", limit, 1, whole=True)
    tell([*truth.notes, *crowding_notes(truth, limit, most)])
