"""How good a model is on a dataset."""

from pathlib import Path

from cascade_rcnn.api.models import MinSize, Model, open_model
from cascade_rcnn.api.notes import tell
from cascade_rcnn.data import Annotations, load_annotations
from cascade_rcnn.data.check import BadImages
from cascade_rcnn.data.items import DetectionData
from cascade_rcnn.engine.datasets import Classes, as_dataset, check_names, meaning
from cascade_rcnn.engine.evaluate import check_classes, collect, evaluation_loader
from cascade_rcnn.engine.predictor import Precision
from cascade_rcnn.errors import UserError
from cascade_rcnn.evaluation import Metrics, evaluate_boxes, load_detections
from cascade_rcnn.evaluation import save_detections as write
from cascade_rcnn.evaluation.coco import LIMIT, crowding_note


def evaluate(
    model: Model,
    data: str | Path | Annotations | DetectionData,
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
    max_megapixels: float = 179,
    max_detections: int = LIMIT,
    save_detections: str | Path | None = None,
    trust: bool = False,
) -> Metrics:
    """COCO's metrics of a model.

    `model` is a `Detector`, `Predictor` or `Runtime`, or the path of a checkpoint or exported file. `data` is a path
    in any form that `load_annotations` reads (`images` and `split` as there), `Annotations`, or a dataset of any
    torchvision style (`DetectionData`), whose labels are the model's 1..M, or by their names `classes`.

    `device` (default: a GPU if there is one), `precision` and `min_size` are of a model given by its path.
    `max_detections` of an image and class count, 100 by COCO's rule. `bad_images="skip"` leaves out images that cannot
    be used, of the metrics too. `save_detections` is a file to write what was found to, and `trust` as `Runtime` has
    it. Raises UserError if model and data do not fit, or something cannot be read.

    >>> metrics = evaluate("starter", "people.json", workers=0)
    >>> round(metrics.ap50, 2)
    1.0

    A dataset of your own: here a list of one image, without anybody.

    >>> empty = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    >>> evaluate(load("starter"), [(torch.zeros(3, 64, 64), empty)], workers=0).images
    1
    """
    more = max_detections if isinstance(model, str | Path) and max_detections > LIMIT else None
    opened = open_model(model, device=device, precision=precision, min_size=min_size, trust=trust, max_detections=more)
    if isinstance(data, str | Path):
        data = load_annotations(data, images, split, opened.class_names, bad_images=bad_images)
    check_names(classes, data)
    labels = meaning(classes, opened.config.categories)
    dataset = as_dataset(data, labels, bad_images=bad_images, max_megapixels=max_megapixels, workers=workers)
    truth = dataset.annotations
    check_classes(opened.config, truth, opened.name)
    _tell(truth, max_detections)
    found = collect(opened.detect, opened.config, evaluation_loader(dataset, batch_size, workers), len(dataset))
    if save_detections is not None:
        write(save_detections, found, truth)
    return evaluate_boxes(truth, found, source=opened.name, limit=max_detections)


def evaluate_detections(
    detections: str | Path,
    annotations: str | Path | Annotations,
    *,
    images: str | Path | None = None,
    split: str | None = None,
    bad_images: BadImages = "stop",
    max_detections: int = LIMIT,
    save_detections: str | Path | None = None,
) -> Metrics:
    """COCO's metrics of detections in a file of COCO's results form, whoever has written it.

    `annotations`, `images` and `split` are as `load_annotations` takes them; `max_detections` of an image and class
    count. Entries that say `file_name` and `category_name` (ours do) are matched by these, and written to
    `save_detections` with the ids that the annotations have. Raises UserError naming the entry that is wrong.

    >>> _ = evaluate("starter", "people.json", workers=0, save_detections="people_found.json")
    >>> evaluate_detections("people_found.json", "people.json").images
    1
    """
    if not isinstance(annotations, Annotations):
        annotations = load_annotations(annotations, images, split, bad_images=bad_images)
    _tell(annotations, max_detections)
    found = load_detections(detections, annotations)
    if save_detections is not None:
        write(save_detections, found, annotations)
    return evaluate_boxes(annotations, found, source=detections, limit=max_detections)


def _tell(truth: Annotations, limit: int) -> None:
    if limit < 1:
        raise UserError(f"max-detections is {limit}; give 1 or more")
    tell([*truth.notes, *filter(None, [crowding_note(truth, limit)])])
