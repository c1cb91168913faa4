"""The command `cascade-rcnn predict`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, get_args

from cascade_rcnn.commands.parameters import OnlyOn, Positional, Precision, check_given, refuse, words
from cascade_rcnn.errors import UserError
from cascade_rcnn.extras import needs
from cascade_rcnn.files import read_json
from cascade_rcnn.text import count, printable

Engine: TypeAlias = Literal["local", "ray"]
Format: TypeAlias = Literal["coco", "cvat", "label-studio", "parquet", "voc", "yolo"]
Formats: TypeAlias = Annotated[tuple[Format, ...], words(*get_args(Format))]
Flips: TypeAlias = Annotated[tuple[Literal["flip"], ...], words("flip")]
_OF_BOTH = {
    *("paths", "checkpoint", "output", "engine", "threshold", "max_detections", "nms", "batch_size", "device"),
    *("agnostic_nms", "precision", "min_size", "trust"),
}
_OF_RAY = {"workers", "cpus", "gpus"}


def predict(
    paths: Positional[tuple[str, ...]] = (),
    /,
    *,
    checkpoint: Path,
    output: str,
    engine: Engine = "local",
    threshold: float | None = None,
    max_detections: int | None = None,
    nms: float | None = None,
    agnostic_nms: OnlyOn = False,
    pictures: bool = True,
    format: Formats = (),  # noqa: A002
    annotations: Path | None = None,
    images: Path | None = None,
    split: str | None = None,
    batch_size: int | None = None,
    device: str | None = None,
    precision: Precision = "fp32",
    min_size: Literal["model"] | int | None = "model",
    overwrite: bool = False,
    trust: bool = False,
    tiles: int | None = None,
    overlap: float = 0.2,
    tta: Flips = (),
    tta_scales: tuple[float, ...] = (),
    classes: tuple[str, ...] = (),
    thresholds: tuple[str, ...] = (),
    step: int = 1,
    start: float = 0.0,
    end: float | None = None,
    track: bool = False,
    workers: int | None = None,
    cpus: int = 1,
    gpus: float | None = None,
) -> None:
    """Detect objects in images or a video; write COCO results, annotated images or video, and files for other tools.

    Running the same command again resumes where it stopped and processes only new images.

    With --engine ray, process one folder, Parquet file or archive of images on a cluster, and write Parquet files.

    Args:
        paths: Images, folders of images or glob patterns (default: the images of --annotations), or one video: a file,
            a URL or the number of a camera; best given first, as some flags take several words. Ray: one folder,
            Parquet file or .tar, also remote (s3://bucket/photos).
        checkpoint: The model: a checkpoint or an exported file.
        output: Folder for detections.json, images.jsonl and pictures/ or video.mp4; Ray: for Parquet files.
        engine: local: run in this process; ray: run on Ray Data, on the cluster at RAY_ADDRESS or else this machine.
        threshold: Minimum score of detections; default: none for detections.json, 0.5 for pictures and --format.
        max_detections: Maximum number of detections per image; default: the model's own setting.
        nms: IoU threshold of non-maximum suppression; default: the model's own setting.
        agnostic_nms: Let boxes of different classes suppress each other, so that an object has one class.
        pictures: Write annotated images, or an annotated video.
        format: Also write files for other tools: coco (FiftyOne, CVAT, supervision), cvat, label-studio, parquet
            (DuckDB, pandas), voc, yolo.
        annotations: Annotations that provide the image ids, by file name; default: 1, 2, ...
        images: Folder of the annotations' images, if they do not name it.
        split: The split of the annotations, for VOC and YOLO folders.
        batch_size: Images per step; default: 1, or 8 with Ray on a GPU.
        device: cpu, cuda, cuda:1 or mps; default: cuda if available, else cpu.
        precision: Precision of the network.
        min_size: Short side to resize images to; None: no resizing; model: the model's own setting.
        overwrite: Start over in a folder that contains the results of another command.
        trust: Allow opening a .pt2 file, which can run arbitrary code.
        tiles: Detect in square tiles of this many pixels, for large images with small objects.
        overlap: Minimum overlap of tiles, as a fraction of their side.
        tta: Also detect in the mirrored image.
        tta_scales: Also detect at these multiples of the image size, such as 0.8 1.25.
        classes: Keep only these classes.
        thresholds: Minimum scores by class, such as car=0.4 person=0.6, or a JSON file {"car": 0.4}; they replace
            --threshold.
        step: Video: process every N-th frame.
        start: Video: time to start at, in seconds.
        end: Video: time to stop at, in seconds.
        track: Video: track the objects and number them.
        workers: Ray: number of models that run in parallel; default: as many as the cluster has room for.
        cpus: Ray: threads per model.
        gpus: Ray: GPUs per model, such as 0.5; default: one if there are any.
    """
    _check_engine(engine, locals())
    if engine == "ray":
        _predict_on_ray(locals())
        return
    if annotations is None:
        check_given("images", paths, "image files, folders or glob patterns", classes=classes, thresholds=thresholds)
    from cascade_rcnn.api.predict import predict_files

    summary = predict_files(
        checkpoint,
        paths,
        output=output,
        threshold=threshold,
        max_detections=max_detections,
        nms_iou=nms,
        agnostic_nms=agnostic_nms or None,
        pictures=pictures,
        formats=format,
        annotations=annotations,
        images=images,
        split=split,
        batch_size=1 if batch_size is None else batch_size,
        device=device,
        precision=precision,
        min_size=min_size,
        overwrite=overwrite,
        trust=trust,
        step=step,
        start=start,
        end=end,
        track=track,
        tiles=tiles,
        overlap=overlap,
        tta=tta,
        tta_scales=tta_scales,
        classes=classes,
        thresholds=read_thresholds(thresholds),
    )
    print(printable(str(summary)))
    if summary.failed:
        whole = count(summary.done + summary.before + summary.failed, summary.unit)
        raise UserError(f"{summary.failed} of {whole} could not be used (see above); the others are done")


def _check_engine(engine: Engine, given: Mapping[str, Any]) -> None:
    """Raise UserError if a given flag has no effect with this engine, or Ray is not given exactly one source."""
    # Ray never draws pictures.
    others = given.keys() - {*_OF_BOTH, *_OF_RAY, "pictures"} if engine == "ray" else _OF_RAY
    refuse(predict, given, others, f"--engine {engine}")
    if engine == "ray" and len(given["paths"]) != 1:
        raise UserError(
            f"--engine ray reads one source, not {len(given['paths'])}; give a folder, a Parquet file or a .tar"
        )


def _predict_on_ray(given: Mapping[str, Any]) -> None:
    needs("`predict --engine ray`", "ray", "ray", "pyarrow", "fsspec")
    from cascade_rcnn.api.notes import tell
    from cascade_rcnn.ray import predict_dataset

    inference = {"max_detections": given["max_detections"], "nms_iou": given["nms"]}
    inference["agnostic_nms"] = given["agnostic_nms"] or None
    inference = {name: value for name, value in inference.items() if value is not None}
    if given["min_size"] != "model":
        inference["min_size"] = given["min_size"]
    summary = predict_dataset(
        given["checkpoint"],
        given["paths"][0],
        given["output"],
        threshold=given["threshold"] or 0.0,
        **{name: given[name] for name in ("workers", "cpus", "gpus", "batch_size", "device", "precision", "trust")},
        **inference,
    )
    print(printable(str(summary)))
    tell(summary.notes)
    if summary.failed:
        whole = count(summary.done + summary.before, "image")
        raise UserError(
            f"{summary.failed} of {whole} could not be used (their rows have an error); the others are done"
        )


def read_thresholds(given: Sequence[str]) -> dict[str, float]:
    """Parse `class=score` pairs, or read them from a JSON file. Raises UserError for anything else."""
    if len(given) == 1 and given[0].lower().endswith(".json"):
        content = read_json(given[0])
        if not isinstance(content, dict) or not all(isinstance(value, int | float) for value in content.values()):
            raise UserError(f'{given[0]}: not thresholds by class, such as {{"car": 0.4, "person": 0.6}}')
        return content
    pairs = [one.rpartition("=") for one in given]
    try:
        scores = {name: float(value) for name, _, value in pairs}
    except ValueError:
        scores = {"": 0.0}
    if "" in scores:
        raise UserError(f"thresholds: cannot read {' '.join(given)}; write car=0.4 person=0.6, or give a JSON file")
    if len(scores) < len(pairs):
        raise UserError(f"thresholds: {' '.join(given)} has a class twice; give one score for each")
    return scores
