"""The output folder of a prediction, which must contain neither inputs nor files that a prediction did not write."""

from collections.abc import Iterable
from pathlib import Path
from shutil import rmtree

from cascade_rcnn.data.yolo_labels import pictures
from cascade_rcnn.engine.prediction.formats.write import NAMES
from cascade_rcnn.errors import UserError
from cascade_rcnn.images.folders import JOURNAL, PICTURES
from cascade_rcnn.outputs import check_apart, check_outputs, check_owned

VIDEO = "video.mp4"
_RESULTS = ("detections.json", *NAMES, PICTURES, VIDEO)


def check_folder(folder: Path, inputs: Iterable[object]) -> None:
    """Raise UserError if a prediction cannot write to the folder, or would replace an input or another file.

    Everything that any prediction may write counts, since a later one that overwrites this one removes all of it.
    """
    images = folder / "yolo" / "images"  # where the images belong before others can use that folder
    if (one := next(pictures([images]), None)) is not None:
        raise UserError(f"{one}: would be deleted with the results; move {images.parent} to another place first")
    check_outputs([folder / JOURNAL])
    check_owned(folder, _RESULTS, record=JOURNAL)
    check_apart([folder / name for name in _RESULTS], inputs)


def remove_results(folder: Path) -> None:
    """Remove what an earlier prediction has written besides its journal, so that nothing of it remains among others."""
    for name in _RESULTS:
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            rmtree(path)
        else:
            path.unlink(missing_ok=True)
