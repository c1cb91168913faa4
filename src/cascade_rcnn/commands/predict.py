"""The command `cascade-rcnn predict`."""

from pathlib import Path
from typing import Literal

from cascade_rcnn.commands.parameters import Positional, Precision
from cascade_rcnn.errors import UserError
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
    format: tuple[Literal["coco", "cvat", "label-studio", "yolo"], ...] = (),  # noqa: A002
    annotations: Path | None = None,
    images: Path | None = None,
    split: str | None = None,
    batch_size: int = 1,
    device: str | None = None,
    precision: Precision = "fp32",
    min_size: Literal["model"] | int | None = "model",
    overwrite: bool = False,
    trust: bool = False,
) -> None:
    """Detect objects in files, folders and globs: writes COCO results, annotated images, files for labelling tools.

    Running the same command again resumes where it stopped and processes only new images.

    Args:
        paths: Images, folders of images, or glob patterns; default: the images of --annotations.
        checkpoint: The model: a checkpoint or an exported file.
        output: Folder to write detections.json, images.jsonl and pictures/ to.
        threshold: Minimum score of detections; default: none for detections.json, 0.5 for pictures and --format.
        max_detections: Maximum number of detections per image; default: the model's own setting.
        nms: IoU threshold of non-maximum suppression; default: the model's own setting.
        pictures: Write annotated images.
        format: Also write files for these tools: coco (FiftyOne, CVAT, supervision), cvat, label-studio, yolo.
        annotations: Annotations that provide the image ids, by file name; default: 1, 2, ...
        images: Folder of the annotations' images, if they do not name it.
        split: The split of the annotations, for VOC and YOLO folders.
        batch_size: Images per step.
        device: cpu, cuda, cuda:1; default: a GPU if there is one.
        precision: Precision of the network.
        min_size: Short side to resize to; None: no resizing; model: its own setting.
        overwrite: Start over in a folder that contains the results of another command.
        trust: Open a .pt2 file, which can run any code of its author.
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
    )
    print(printable(str(summary)))
    if summary.failed:
        whole = count(summary.done + summary.before + summary.failed, "image")
        raise UserError(f"{summary.failed} of {whole} could not be used (see above); the others are done")
