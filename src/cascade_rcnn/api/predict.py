"""Detection in files, folders and globs."""

from collections.abc import Sequence
from pathlib import Path

from cascade_rcnn.api.models import MinSize, Model, open_model
from cascade_rcnn.api.notes import tell
from cascade_rcnn.data import load_annotations
from cascade_rcnn.engine.prediction.detect_files import PredictionJob, PredictionSummary, detect_in_files
from cascade_rcnn.engine.prediction.labelling import Format
from cascade_rcnn.engine.predictor import Precision
from cascade_rcnn.errors import UserError
from cascade_rcnn.folders import expand
from cascade_rcnn.text import printable


def predict_files(
    model: Model,
    paths: Sequence[str | Path] = (),
    *,
    output: str | Path,
    threshold: float | None = None,
    max_detections: int | None = None,
    nms_iou: float | None = None,
    pictures: bool = True,
    formats: Sequence[Format] = (),
    annotations: str | Path | None = None,
    images: str | Path | None = None,
    split: str | None = None,
    batch_size: int = 1,
    device: str | None = None,
    precision: Precision = "fp32",
    min_size: MinSize = "model",
    overwrite: bool = False,
    trust: bool = False,
) -> PredictionSummary:
    """Detect objects in files, folders and glob patterns, and write the results to the folder `output`.

    It contains `detections.json`, `images.jsonl` and `pictures/`.

    `model` is a `Detector`, `Predictor` or `Runtime`, or the path of a checkpoint or exported file; `device`,
    `precision`, `min_size`, `max_detections` and `nms_iou` only apply to paths. `paths` defaults to the images of
    `annotations` (with `images` and `split` as in `load_annotations`), which also provide the image ids. Detections
    with scores of at least `threshold` are kept; by default, there is no threshold for detections.json, and 0.5 for
    pictures and `formats` (coco, cvat, label-studio, yolo: files for labelling tools). The same call resumes an
    interrupted one and processes only new images; `overwrite` starts over. Unusable images are reported, counted and
    skipped. Raises UserError for other mistakes, and `Interrupted` after Ctrl-C.

    >>> summary = predict_files("starter", ["photo.jpg"], output="found", pictures=False)
    >>> summary.done, summary.failed, [path.name for path in summary.files]
    (1, 0, ['detections.json'])
    """
    if isinstance(paths, str | Path):
        paths = [paths]
    if batch_size < 1:
        raise UserError(f"batch-size is {batch_size}; give 1 or more")
    if paths or annotations is None:
        expand(paths)  # reports mistakes before the model is loaded
    opened = open_model(
        model,
        device=device,
        precision=precision,
        min_size=min_size,
        trust=trust,
        max_detections=max_detections,
        nms_iou=nms_iou,
    )
    truth = None
    if annotations is not None:
        truth = load_annotations(annotations, images, split, opened.class_names)
        tell(truth.notes)
    job = PredictionJob(
        paths=paths,
        truth=truth,
        categories=opened.config.categories,
        output=Path(output),
        threshold=threshold,
        batch_size=batch_size,
        pictures=pictures,
        formats=formats,
        settings={"annotations": printable(str(annotations)), "split": split, **opened.settings},
        overwrite=overwrite,
    )
    summary = detect_in_files(opened.detect, job)
    tell(summary.notes)
    return summary
