"""Detection in image files, folders, glob patterns and videos."""

from collections.abc import Iterable, Sequence
from itertools import chain
from os import PathLike
from pathlib import Path
from typing import Unpack

from cascade_rcnn.api.models import Model, open_model
from cascade_rcnn.api.notes import tell
from cascade_rcnn.arguments import as_list, as_path, check_number, known_options
from cascade_rcnn.config import Category
from cascade_rcnn.data import Annotations, load_annotations
from cascade_rcnn.data.load import check_only_of_files
from cascade_rcnn.engine.datasets import files_of
from cascade_rcnn.engine.prediction.detect_files import detect_in_files
from cascade_rcnn.engine.prediction.detect_video import detect_in_video
from cascade_rcnn.engine.prediction.formats import Format, check_formats
from cascade_rcnn.engine.prediction.job import PredictionJob
from cascade_rcnn.engine.prediction.output_folder import check_folder
from cascade_rcnn.engine.prediction.summary import PredictionSummary
from cascade_rcnn.engine.prediction.video_frames import Clip, is_video
from cascade_rcnn.engine.predictor import Precision
from cascade_rcnn.errors import UserError
from cascade_rcnn.images.decoding import MAX_MEGAPIXELS
from cascade_rcnn.images.folders import expand
from cascade_rcnn.models.preprocess import MinSize
from cascade_rcnn.passes import PredictOptions, given_options, with_options
from cascade_rcnn.results import check_reach
from cascade_rcnn.text import printable

_MAX_MEGAPIXELS_IN_TILES = 4000  # 12 GB when decoded


@known_options
def predict_files(
    model: Model,
    paths: str | Path | int | Iterable[str | Path] = (),
    *,
    output: str | Path,
    threshold: float | None = None,
    max_detections: int | None = None,
    nms_iou: float | None = None,
    agnostic_nms: bool | None = None,
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
    step: int = 1,
    start: float = 0.0,
    end: float | None = None,
    track: bool = False,
    **options: Unpack[PredictOptions],
) -> PredictionSummary:
    """Detect objects in image files, folders and glob patterns, or in a video, and write results to a folder.

    The folder `output` then contains `detections.json`, `images.jsonl` and `pictures/`, or `video.mp4`.

    `model` is a `Detector`, `Predictor` or `Runtime`, or the path of a checkpoint or exported file; `device`,
    `precision`, `min_size` (short side in pixels), `max_detections` (per image), `nms_iou`, `agnostic_nms` (boxes of
    different classes suppress each other as well) and `trust` (see `Runtime`) only apply to paths. `paths` defaults to
    the images of `annotations` (with `images` and `split` as in `load_annotations`), which also provide the image ids.
    Detections with scores of at least `threshold` are kept; the default is no threshold for detections.json, and 0.5
    for pictures and `formats` (files for other tools: coco, cvat, label-studio, parquet, voc, yolo). The same call
    resumes an interrupted one and processes only new images; `overwrite` starts over. Unusable images are reported,
    counted and skipped. Raises UserError for other mistakes, and `Interrupted` after Ctrl-C.

    `options` are those of `cascade_rcnn.PredictOptions`: `tiles` with their `overlap` for large images,
    test-time augmentation (`tta`, `tta_scales`), `classes` to keep, and `thresholds` by class. A video is one path, URL
    or camera number: every `step`-th frame from `start` to `end` (in seconds) is processed, and `track` assigns the
    same id to an object in all frames.

    >>> summary = predict_files("starter", ["photo.jpg"], output="found", pictures=False)
    >>> summary.done, summary.failed, [path.name for path in summary.files]
    (1, 0, ['detections.json'])
    """
    folder = as_path("output", output)
    paths = _listed(paths)
    check_number("batch_size", batch_size, 1, whole=True)
    if threshold is not None:
        check_number("threshold", threshold, 0, 1)
    check_only_of_files(annotations, images=images, split=split)
    formats = as_list("formats", formats)
    check_formats(formats)
    clip = _clip(paths, step, start, end, track=track)
    if clip is not None and annotations is not None:
        raise UserError(f"annotations: {clip.source} is a video, whose frames have ids of their own; leave them out")
    given = paths
    if clip is None and (paths or annotations is None):
        given = (source.path for source in expand(paths))  # report mistakes before the model is loaded
    check_folder(folder, chain((model, annotations, images), given))
    opened = open_model(
        model,
        device=device,
        precision=precision,
        min_size=min_size,
        trust=trust,
        max_detections=max_detections,
        nms_iou=nms_iou,
        agnostic_nms=agnostic_nms,
    )
    detect = with_options(opened.detect, opened.config, **options)
    if options.get("tta_scales") and opened.detector is None:
        raise UserError(f"tta_scales: {opened.name} is an exported file, which cannot do this; give the checkpoint")
    wanted = list(options.get("thresholds", {}).values()) + ([] if threshold is None else [threshold])
    tell(check_reach(min(wanted, default=0.0), opened.config.inference.score_threshold))
    truth = None
    if annotations is not None:
        truth = load_annotations(annotations, images, split, opened.class_names)
        tell([*truth.notes, *_other_ids(opened.config.categories, truth)])
        check_folder(folder, files_of(truth))
    job = PredictionJob(
        paths=paths,
        truth=truth,
        categories=opened.config.categories,
        output=folder,
        threshold=threshold,
        thresholds=options.get("thresholds", {}),
        max_megapixels=_MAX_MEGAPIXELS_IN_TILES if options.get("tiles") else MAX_MEGAPIXELS,
        batch_size=batch_size,
        pictures=pictures,
        formats=formats,
        settings={
            "annotations": printable(str(annotations)),
            "split": split,
            **opened.settings,
            **given_options(options),
        },
        overwrite=overwrite,
    )
    summary = detect_in_files(detect, job) if clip is None else detect_in_video(detect, job, clip, track=track)
    tell(summary.notes)
    return summary


def _listed(paths: str | Path | int | Iterable[str | Path]) -> list[str | Path]:
    """Return one path, or the number of a camera, as a list. Raises UserError for what is no path, such as arrays."""
    if isinstance(paths, str | Path | int):
        return [str(paths) if isinstance(paths, int) else paths]
    listed = as_list("paths", paths)
    if kinds := [type(one).__name__ for one in listed if not isinstance(one, str | PathLike)]:
        advice = "give files, folders or patterns (`model.predict` takes images in memory)"
        raise UserError(f"paths contains {kinds[0]}; {advice}")
    return listed


def _other_ids(categories: Sequence[Category], truth: Annotations) -> list[str]:
    """Return a note if the ids of the model's classes, which detections have, are not those in the annotations."""
    if (odd := next((one for one in categories if one not in truth.categories), None)) is None:
        return []
    what = f"has no class {odd.name!r} with id {odd.id}, as the model has"
    return [f"{truth.source}: {what}; `category_id` in detections.json is the model's, so compare by `category_name`"]


def _clip(paths: Sequence[str | Path], step: int, start: float, end: float | None, *, track: bool) -> Clip | None:
    """Return the video, or None for images. Raises UserError for several videos, or for video settings with images."""
    videos = [str(path) for path in paths if is_video(str(path))]
    if not videos:
        if track or (step, start, end) != (1, 0.0, None):
            raise UserError("step, start, end and track only apply to a video; give one, or omit them")
        return None
    if len(paths) > 1:
        raise UserError(f"{videos[0]}: give a single video, without other files")
    return Clip(source=videos[0], step=step, start=start, end=end)
