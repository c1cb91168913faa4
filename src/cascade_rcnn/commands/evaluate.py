"""The command `cascade-rcnn evaluate`."""

from pathlib import Path
from typing import Literal

from cascade_rcnn.commands.parameters import Precision, refuse
from cascade_rcnn.commands.tables import print_table
from cascade_rcnn.errors import UserError
from cascade_rcnn.text import printable

_OF_MODELS = ("device", "precision", "min_size", "max_megapixels", "trust")


def evaluate(
    *,
    annotations: Path,
    images: Path | None = None,
    split: str | None = None,
    checkpoint: Path | None = None,
    detections: Path | None = None,
    output: Path | None = None,
    save_detections: Path | None = None,
    report: Path | None = None,
    batch_size: int = 1,
    workers: int = 2,
    device: str | None = None,
    precision: Precision = "fp32",
    min_size: Literal["model"] | int | None = "model",
    bad_images: Literal["stop", "skip"] = "stop",
    max_megapixels: float = 179,
    max_detections: int = 100,
    boundary: bool = False,
    trust: bool = False,
) -> None:
    """Compute COCO metrics of a model, or of detections in COCO's results format.

    Args:
        annotations: Ground truth: a COCO json, a VOC folder or ImageSets file, a YOLO data.yaml, or a folder of these.
        images: Folder of the images, if the annotations do not name it.
        split: The split to evaluate, if there are several.
        checkpoint: The model to evaluate: a checkpoint or an exported file.
        detections: A COCO results json to evaluate instead of a model.
        output: Write the metrics to this JSON file.
        save_detections: Write the detections to this COCO results json.
        report: Write report.html, which explains the AP and suggests improvements, to this folder.
        batch_size: Images per step.
        workers: Number of data loading processes.
        device: cpu, cuda, cuda:1 or mps; default: cuda if available, else cpu.
        precision: Precision of the network.
        min_size: Short side to resize images to; None: no resizing; model: the model's own setting.
        bad_images: What to do with unusable images: report them and stop, or leave them out of the evaluation.
        max_megapixels: Larger images are unusable.
        max_detections: Number of top-scoring detections to count per image and class; COCO uses 100.
        boundary: Also compute the boundary AP of masks; requires the extra `boundary`.
        trust: Allow opening a .pt2 file, which can run arbitrary code.
    """
    from cascade_rcnn.api import evaluate as api
    from cascade_rcnn.data.coco_folder import coco_files
    from cascade_rcnn.outputs import check_outputs
    from cascade_rcnn.reporting.files import report_files

    if (checkpoint is None) == (detections is None):
        raise UserError("give either --checkpoint (a model to run) or --detections (a COCO results json)")
    if detections is not None:
        refuse(evaluate, locals(), _OF_MODELS, "--detections")
    splits = coco_files(annotations).values() if annotations.is_dir() else ()
    inputs = (checkpoint, detections, annotations, images, *splits)
    check_outputs((output, save_detections, *report_files(report)), inputs)
    if detections is not None:
        metrics = api.evaluate_detections(
            detections,
            annotations,
            images=images,
            split=split,
            bad_images=bad_images,
            max_detections=max_detections,
            boundary=boundary,
            save_detections=save_detections,
            report=report,
        )
    else:
        assert checkpoint is not None
        metrics = api.evaluate(
            checkpoint,
            annotations,
            images=images,
            split=split,
            batch_size=batch_size,
            workers=workers,
            device=device,
            precision=precision,
            min_size=min_size,
            bad_images=bad_images,
            max_megapixels=max_megapixels,
            max_detections=max_detections,
            boundary=boundary,
            save_detections=save_detections,
            report=report,
            trust=trust,
        )
    print_table(metrics)
    if output is not None:
        metrics.save(output)
    if report is not None:
        print(f"report: {printable(str(report / 'report.html'))}")
