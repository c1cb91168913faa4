"""The output folder of a prediction, which must contain neither inputs nor files that a prediction did not write."""

from collections.abc import Iterable
from pathlib import Path

from cascade_rcnn.engine.prediction.formats.write import NAMES
from cascade_rcnn.folders import JOURNAL
from cascade_rcnn.outputs import check_apart, check_outputs, check_owned


def check_folder(folder: Path, drawn: str | None, inputs: Iterable[object]) -> None:
    """Raise UserError if a prediction cannot write to the folder, or would replace an input or another file.

    `drawn` is the name of the annotated pictures or video, if any. All formats count, since a later call that resumes
    this one may add them.
    """
    check_outputs([folder / JOURNAL])
    names = ["detections.json", *NAMES, *([] if drawn is None else [drawn])]
    check_owned(folder, names, record=JOURNAL)
    check_apart([folder / name for name in names], inputs)
