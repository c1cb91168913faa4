"""Store the detections of a run in a small file, with the IoU thresholds at which each is correct."""

import zipfile
from pathlib import Path

import numpy as np

from cascade_rcnn.data import Annotations
from cascade_rcnn.evaluation.matches import Matches, match
from cascade_rcnn.evaluation.metrics import IOU_THRESHOLDS
from cascade_rcnn.files import replacing
from cascade_rcnn_study.run_files import damaged

_BITS = 1 << np.arange(len(IOU_THRESHOLDS), dtype=np.uint16)


def save_matches(path: Path, truth: Annotations, detections: np.ndarray) -> None:
    """Match detections (N, 7) to the ground truth and write the matches, 14 bytes each before compression."""
    matches = match(truth, detections)
    with replacing(path) as aside, aside.open("wb") as file:
        np.savez_compressed(
            file,
            image=matches.image.astype(np.uint32),
            label=matches.label.astype(np.uint16),
            score=matches.score.astype(np.float32),
            right=(matches.right @ _BITS).astype(np.uint16),
            wrong=(matches.wrong @ _BITS).astype(np.uint16),
            truth=matches.truth.astype(np.uint16),
            image_ids=truth.image_ids.numpy(),
        )


def read_matches(path: Path) -> Matches:
    """Read what `save_matches` wrote. Raises UserError for a damaged file."""
    try:
        with path.open("rb") as opened, np.load(opened) as file:
            right, wrong = (file[name][:, None] & _BITS > 0 for name in ("right", "wrong"))
            image, label, truth = (file[name].astype(np.int64) for name in ("image", "label", "truth"))
            return Matches(image, label, file["score"].astype(np.float64), right, wrong, truth)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise damaged(path, str(error)) from None
