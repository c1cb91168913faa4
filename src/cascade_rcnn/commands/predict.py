"""The command `cascade-rcnn predict`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from cascade_rcnn.commands.parameters import Positional, Precision
from cascade_rcnn.errors import UserError
from cascade_rcnn.files import read_json
from cascade_rcnn.text import count, printable


def predict(
    paths: Positional[tuple[str, ...]] = (),
    /,
    *,
    checkpoint: Path,
    output: Path,
    threshold: float | None = None,
    max_detections: int | None = None,
    nms: float | None = None,
    pictures: bool = True,
    format: tuple[Literal["coco", "cvat", "label-studio", "parquet", "voc", "yolo"], ...] = (),  # noqa: A002
    annotations: Path | None = None,
    images: Path | None = None,
    split: str | None = None,
    batch_size: int = 1,
    device: str | None = None,
    precision: Precision = "fp32",
    min_size: Literal["model"] | int | None = "model",
    overwrite: bool = False,
    trust: bool = False,
    tiles: int | None = None,
    overlap: float = 0.2,
    tta: tuple[Literal["flip"], ...] = (),
    tta_scales: tuple[float, ...] = (),
    classes: tuple[str, ...] = (),
    thresholds: tuple[str, ...] = (),
    step: int = 1,
    start: float = 0.0,
    end: float | None = None,
    track: bool = False,
) -> None:
    """Detect objects in images or a video; write COCO results, annotated images or video, and files for other tools.

    Running the same command again resumes where it stopped and processes only new images.

    Args:
        paths: Images, folders of images, or glob patterns (default: the images of --annotations); or one video: a file,
            a URL, or the number of a camera.
        checkpoint: The model: a checkpoint or an exported file.
        output: Folder to write detections.json, images.jsonl and pictures/ or video.mp4 to.
        threshold: Minimum score of detections; default: none for detections.json, 0.5 for pictures and --format.
        max_detections: Maximum number of detections per image; default: the model's own setting.
        nms: IoU threshold of non-maximum suppression; default: the model's own setting.
        pictures: Write annotated images, or an annotated video.
        format: Also write files for other tools: coco (FiftyOne, CVAT, supervision), cvat, label-studio, parquet
            (DuckDB, pandas), voc, yolo.
        annotations: Annotations that provide the image ids, by file name; default: 1, 2, ...
        images: Folder of the annotations' images, if they do not name it.
        split: The split of the annotations, for VOC and YOLO folders.
        batch_size: Images per step.
        device: cpu, cuda, cuda:1; default: a GPU if there is one.
        precision: Precision of the network.
        min_size: Short side to resize to; None: no resizing; model: its own setting.
        overwrite: Start over in a folder that contains the results of another command.
        trust: Open a .pt2 file, which can run any code of its author.
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
    """
    from cascade_rcnn.api.predict import predict_files

    summary = predict_files(
        checkpoint,
        paths,
        output=output,
        threshold=threshold,
        max_detections=max_detections,
        nms_iou=nms,
        pictures=pictures,
        formats=format,
        annotations=annotations,
        images=images,
        split=split,
        batch_size=batch_size,
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


def read_thresholds(given: Sequence[str]) -> dict[str, float]:
    """Read `class=score` pairs, or one JSON file of them. Raises UserError."""
    if len(given) == 1 and given[0].lower().endswith(".json"):
        content = read_json(given[0])
        if not isinstance(content, dict) or not all(isinstance(value, int | float) for value in content.values()):
            raise UserError(f'{given[0]}: not thresholds by class; write {{"car": 0.4, "person": 0.6}}')
        return content
    pairs = [one.rpartition("=") for one in given]
    try:
        scores = {name: float(value) for name, _, value in pairs}
    except ValueError:
        scores = {"": 0.0}
    if "" in scores:
        raise UserError(f"thresholds: cannot read {' '.join(given)}; write car=0.4 person=0.6, or name a JSON file")
    return scores
