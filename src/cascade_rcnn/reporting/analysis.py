"""The content of a report on one detector."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from cascade_rcnn.evaluation.metrics import nan_to_none
from cascade_rcnn.reporting import thresholds
from cascade_rcnn.reporting.breakdown import Breakdown, breakdown
from cascade_rcnn.reporting.calibration import Calibration, calibration
from cascade_rcnn.reporting.curves import Curves
from cascade_rcnn.reporting.errors import Confusion, Split, confusion, split
from cascade_rcnn.reporting.evidence import Evidence
from cascade_rcnn.reporting.headline import Headline, draws, headline
from cascade_rcnn.reporting.images import ImageScores, image_scores
from cascade_rcnn.reporting.label_errors import Suspect, suspects
from cascade_rcnn.reporting.precision_recall import PrecisionRecall, precision_recall
from cascade_rcnn.reporting.stages import Stages
from cascade_rcnn.reporting.thresholds import Operating


@dataclass(frozen=True, kw_only=True)
class Training:
    """Information on the training run of a detector."""

    curves: Curves
    images: int  # approximate number of training images
    min_size: tuple[int, ...] | None  # short side of the images; None: not resized


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """The sections of a report."""

    evidence: Evidence
    headline: Headline
    splits: tuple[Split, Split]  # at IoU 0.5 and 0.75
    confusion: Confusion
    breakdown: Breakdown
    precision_recall: list[PrecisionRecall]
    calibration: Calibration
    thresholds: list[Operating]
    best: dict[str, Operating | None]  # by class, at the threshold with the highest F1
    images: ImageScores
    suspects: list[Suspect]
    stages: Stages | None = None
    training: Training | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-serializable values, with NaN as None."""
        truth = self.evidence.truth
        images = {
            truth.file_names[i]: {
                "score": float(self.images.score[i]),
                "right": int(self.images.right[i]),
                "wrong": int(self.images.wrong[i]),
                "missed": int(self.images.missed[i]),
            }
            for i in range(len(truth))
        }
        found = {
            "data": truth.source,
            "metrics": self.evidence.metrics.to_dict(),
            "threshold": self.evidence.operating._asdict(),
            "intervals": _plain(self.headline),
            "errors": [_plain(one) for one in self.splits],
            "confusion": {"names": self.confusion.names, "matrix": self.confusion.matrix.tolist()},
            "breakdown": _plain(self.breakdown),
            "precision_recall": _plain(self.precision_recall),
            "calibration": _plain(self.calibration),
            "thresholds": _plain(self.thresholds),
            "best_thresholds": _plain(self.best),
            "images": images,
            "suspects": [
                _plain(one) | {"image": truth.file_names[one.image], "image_id": int(truth.image_ids[one.image])}
                for one in self.suspects
            ],
            "stages": _plain(self.stages),
            "curves": _plain(self.training.curves) if self.training else None,
        }
        return nan_to_none(found)


def analyse(evidence: Evidence, *, stages: Stages | None = None, training: Training | None = None) -> Analysis:
    """Compute every section from the detections."""
    matches = evidence.pairs.matches
    return Analysis(
        evidence=evidence,
        headline=headline(draws(matches), evidence.names, matches.truth),
        splits=(split(evidence, 0.5), split(evidence, 0.75)),
        confusion=confusion(evidence),
        breakdown=breakdown(evidence),
        precision_recall=precision_recall(evidence),
        calibration=calibration(evidence),
        thresholds=thresholds.operate(matches, np.array(thresholds.SHOWN)),
        best={name: thresholds.best(matches, k) for k, name in enumerate(evidence.names, start=1)},
        images=image_scores(evidence),
        suspects=suspects(evidence),
        stages=stages,
        training=training,
    )


def _plain(value: Any) -> Any:
    """Convert named tuples, within lists and dicts, to dicts."""
    if hasattr(value, "_asdict"):
        return {name: _plain(item) for name, item in value._asdict().items()}
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
