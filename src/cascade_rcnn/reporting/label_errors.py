"""Suspected errors in the annotations."""

from typing import Literal, NamedTuple

import numpy as np

from cascade_rcnn.evaluation.coco import Array
from cascade_rcnn.reporting.breakdown import box_iou
from cascade_rcnn.reporting.evidence import Evidence

CONFIDENT = 0.7  # a detection that is doubted less than the annotations
_NEAR = 0.5  # IoU with an object

Kind = Literal["unlabelled", "class", "never found"]


class Suspect(NamedTuple):
    """A suspected annotation error."""

    kind: Kind
    image: int  # 0..N-1
    box: tuple[float, float, float, float]  # XYWH
    found: str  # class of the detection, or ""
    true: str  # class in the annotations, or ""
    score: float  # of the detection; for objects that were never found the highest IoU that any detection has


def suspects(evidence: Evidence) -> list[Suspect]:
    """List confident detections where nothing, or another class, is annotated, and objects that nothing comes near.

    The first two are hotcoco's candidates, of detections of at least 0.7; most confident first. An object counts as
    never found if no detection of any class and score has an IoU of 0.5 with it.
    """
    return [*_disagreements(evidence), *_never_found(evidence)]


def _disagreements(evidence: Evidence) -> list[Suspect]:
    rows = evidence.pairs.row[evidence.pairs.matches.score >= max(CONFIDENT, evidence.threshold)]
    found = evidence.evaluator(rows).image_diagnostics(iou_thr=_NEAR, score_thr=0.0)
    image_of = {int(identity): i for i, identity in enumerate(evidence.truth.image_ids.tolist())}
    listed = []
    for one in found["label_errors"]:
        kind: Kind = "unlabelled" if one["type"] == "missing_annotation" else "class"
        box = evidence.found[rows[one["dt_id"] - 1], 1:5].tolist()
        true = one["gt_category"] or ""
        listed.append(Suspect(kind, image_of[one["image_id"]], tuple(box), one["dt_category"], true, one["dt_score"]))
    return sorted(listed, key=lambda one: -one.score)


def _never_found(evidence: Evidence) -> list[Suspect]:
    """List the objects that are not ignored and have no detection near them, largest first."""
    truth = evidence.truth
    listed = []
    for i, nearest in enumerate(_nearest(evidence)):
        rows = truth.rows(i)
        for box, label, ignored, iou in zip(
            truth.boxes[rows].tolist(), truth.labels[rows].tolist(), truth.ignore[rows].tolist(), nearest, strict=True
        ):
            if not ignored and iou < _NEAR:
                listed.append(Suspect("never found", i, tuple(box), "", evidence.names[label - 1], float(iou)))
    return sorted(listed, key=lambda one: -one.box[2] * one.box[3])


def _nearest(evidence: Evidence) -> list[Array]:
    """Return the highest IoU of each image's objects with any of its detections."""
    order = np.argsort(evidence.found[:, 0], kind="stable")
    ids = evidence.found[order, 0]
    found = []
    for i, identity in enumerate(evidence.truth.image_ids.tolist()):
        start, end = np.searchsorted(ids, (identity, identity + 1))
        overlap = box_iou(evidence.truth.boxes[evidence.truth.rows(i)].numpy(), evidence.found[order[start:end], 1:5])
        found.append(overlap.max(axis=1, initial=0.0))
    return found
