"""Suspicious labels, where a model and the annotations disagree."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import hotcoco
import numpy as np
import torch

from cascade_rcnn import boxes as box_ops
from cascade_rcnn.data.annotations import Annotations
from cascade_rcnn.evaluation.coco import Array, to_hotcoco
from cascade_rcnn.inspection.findings import Finding, Record, finding
from cascade_rcnn.inspection.splits import Split

CONFIDENT = 0.5  # minimum score of a detection that makes a label suspicious
_MATCHED = 0.5  # IoU
_APART = 0.3  # IoU below which two boxes are not just different outlines of the same object


class SplitDetections(NamedTuple):
    """The detections (N, 7) on the usable images of a split, in the format of `evaluate_boxes`."""

    split: Split
    detections: Array


def usable(split: Split) -> Annotations:
    """Return the annotations of the usable images, on which a model can be run."""
    return split.annotations.select(split.usable)


def label_findings(found: Sequence[SplitDetections]) -> list[Finding]:
    """Return the confident detections without a label or with another class, and the labels without a detection."""
    scored: dict[str, list[tuple[float, Record]]] = {
        "missing_label": [],
        "class_disagreement": [],
        "unreached_label": [],
    }
    for one in found:
        for code, some in _Comparison(*one).doubts().items():
            scored[code] += some
    return [
        one
        for code, some in scored.items()
        for one in finding(code, [record for _, record in sorted(some, key=lambda pair: -pair[0])])
    ]


class _Comparison:
    """Labels and detections of one split; labels are numbered as in the usable annotations."""

    def __init__(self, split: Split, detections: Array) -> None:
        self.split, self.detections, self.truth = split, detections, usable(split)
        self.images = np.flatnonzero(split.usable)  # indices of the usable images in the split
        self.rows = np.flatnonzero(split.usable[split.owners])
        self.place = {int(identity): k for k, identity in enumerate(self.truth.image_ids.tolist())}
        # The highest IoU of each label with any detection, and of each detection with any label, regardless of class.
        self.reached, self.explained = self._overlaps()

    def _overlaps(self) -> tuple[Array, Array]:
        reached, explained = np.zeros(len(self.truth.boxes)), np.zeros(len(self.detections))
        places = np.array([self.place[int(identity)] for identity in self.detections[:, 0]], np.int64)
        for k in np.unique(places).tolist():
            labels, mine = self.truth.rows(k), np.flatnonzero(places == k)
            if labels.start == labels.stop:
                continue
            detected = torch.from_numpy(self.detections[mine, 1:5])
            overlap = box_ops.iou(box_ops.from_xywh(self.truth.boxes[labels]), box_ops.from_xywh(detected))
            reached[labels] = overlap.amax(dim=1).numpy()
            explained[mine] = overlap.amax(dim=0).numpy()
        return reached, explained

    def doubts(self) -> dict[str, list[tuple[float, Record]]]:
        """Return records by code, each with a weight to sort by."""
        reference = to_hotcoco(self.truth)
        evaluation = hotcoco.COCOeval(reference, reference.load_res(np.ascontiguousarray(self.detections)), "bbox")
        evaluation.evaluate()
        diagnosis = evaluation.image_diagnostics(iou_thr=_MATCHED, score_thr=CONFIDENT)
        missed = {number - 1 for number, status in diagnosis["gt_status"].items() if status == "fn"}
        unlabelled, disagreed = [], {}
        for error in sorted(diagnosis["label_errors"], key=lambda one: -one["dt_score"]):
            if error["type"] == "missing_annotation":
                if self.explained[error["dt_id"] - 1] < _APART:
                    unlabelled.append((error["dt_score"], self._unlabelled(error)))
            elif error["gt_id"] - 1 in missed:
                disagreed.setdefault(error["gt_id"], (error["dt_score"], self._disagreed(error)))
        return {
            "missing_label": unlabelled,
            "class_disagreement": list(disagreed.values()),
            "unreached_label": [self._unreached(row) for row in sorted(missed) if self.reached[row] < _APART],
        }

    def _unlabelled(self, error: dict) -> Record:
        x, y, width, height = self.detections[error["dt_id"] - 1, 1:5].tolist()
        image = self.split.image(int(self.images[self.place[error["image_id"]]]), f"score {error['dt_score']:.2f}")
        return replace(image, box=(x, y, width, height), label=error["dt_category"])

    def _disagreed(self, error: dict) -> Record:
        detail = f"predicted as {error['dt_category']}, score {error['dt_score']:.2f}, IoU {error['iou']:.2f}"
        return self.split.box(int(self.rows[error["gt_id"] - 1]), detail)

    def _unreached(self, row: int) -> tuple[float, Record]:
        detail = f"IoU {self.reached[row]:.2f} with the nearest detection"
        return float(self.truth.areas[row]), self.split.box(int(self.rows[row]), detail)
