"""The command `cascade-rcnn report`."""

from pathlib import Path
from typing import Literal

from cascade_rcnn.commands.parameters import Positional, Precision, refuse
from cascade_rcnn.errors import UserError
from cascade_rcnn.text import printable


def report(
    runs: Positional[tuple[Path, ...]] = (),
    /,
    *,
    data: Path | None = None,
    images: Path | None = None,
    split: str | None = None,
    checkpoint: Path | None = None,
    detections: Path | None = None,
    output: Path | None = None,
    threshold: float | None = None,
    stage_images: int = 100,
    batch_size: int = 1,
    workers: int = 2,
    device: str | None = None,
    precision: Precision = "fp32",
    bad_images: Literal["stop", "skip"] | None = None,
) -> None:
    """Write an HTML report that explains the AP of a run (`report RUN`) or compares two runs (`report A B`).

    Args:
        runs: The folder of a training run, or of two, to compare the second with the first.
        data: Annotations (COCO json, VOC folder, YOLO data.yaml or a folder); default: the run's validation data.
        images: Folder of the images, if the annotations do not name it.
        split: The split of the data to use, if there are several.
        checkpoint: The model; default: the best checkpoint of the run.
        detections: A COCO results json to use instead of running the model.
        output: Folder for report.html and report.json; default: RUN/report, or B/report_A.
        threshold: Minimum score of the detections shown; default: the one with the highest F1.
        stage_images: Number of images to measure the effect of each stage on; 0: none.
        batch_size: Images per step, if the model is run.
        workers: Number of data loading processes.
        device: cpu, cuda, cuda:1 or mps; default: cuda if available, else cpu.
        precision: Precision of the network.
        bad_images: What to do with unusable images: report them and stop, or skip them; default: as in the run.
    """
    from cascade_rcnn.api import report as api

    common = {"data": data, "images": images, "split": split, "output": output, "batch_size": batch_size}
    common |= {"workers": workers, "device": device, "precision": precision, "bad_images": bad_images}
    if len(runs) == 1:
        made = api.report(
            runs[0],
            checkpoint=checkpoint,
            detections=detections,
            threshold=threshold,
            stage_images=stage_images,
            **common,
        )
        print(*(f"{k}. {printable(advice)}" for k, advice in enumerate(made.advice, start=1)), sep="\n")
    elif len(runs) == 2:
        refuse(report, locals(), ("checkpoint", "detections", "threshold", "stage_images"), "two runs")
        made = api.compare(runs[0], runs[1], **common)
        print(printable(made.answer))
    else:
        raise UserError(f"{len(runs)} runs given; give the folder of one training run, or of two to compare")
    print(f"report: {printable(str(made.page))}")
