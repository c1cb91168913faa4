"""The output folder of a prediction, which must contain neither inputs nor files that a prediction did not write."""

from collections.abc import Iterable
from pathlib import Path
from shutil import rmtree

from cascade_rcnn.engine.prediction.formats.write import NAMES
from cascade_rcnn.images.folders import JOURNAL, PICTURES
from cascade_rcnn.outputs import check_apart, check_outputs, check_owned

VIDEO = "video.mp4"
_RESULTS = ("detections.json", *NAMES)


def check_folder(folder: Path, drawn: str | None, inputs: Iterable[object], *, overwrite: bool = False) -> None:
    """Raise UserError if a prediction cannot write to the folder, or would replace an input or another file.

    `drawn` is the name of the annotated pictures or video, if any. All formats count, since a later call that resumes
    this one may add them. `overwrite` removes everything that a prediction may have written.
    """
    check_outputs([folder / JOURNAL])
    names = [*_RESULTS, *((PICTURES, VIDEO) if overwrite else [] if drawn is None else [drawn])]
    check_owned(folder, names, record=JOURNAL)
    check_apart([folder / name for name in names], inputs)


def remove_results(folder: Path) -> None:
    """Remove what an earlier prediction has written besides its journal, so that nothing of it remains among others."""
    for name in (*_RESULTS, PICTURES, VIDEO):
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            rmtree(path)
        else:
            path.unlink(missing_ok=True)
