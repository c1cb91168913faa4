"""Suspected errors in the annotations."""

from typing import Literal, NamedTuple

import numpy as np

from cascade_rcnn.evaluation.coco import Array
from cascade_rcnn.reporting.breakdown import box_iou
from cascade_rcnn.reporting.evidence import Evidence

CONFIDENT = 0.7  # score from which a detection makes the annotations suspect
_NEAR = 0.5  # IoU between a detection and an object

Kind = Literal["unlabelled", "class", "never found"]


class Suspect(NamedTuple):
    """A suspected annotation error."""

    kind: Kind
    image: int  # 0..N-1
    box: tuple[float, float, float, float]  # XYWH
    found: str  # class of the detection, or ""
    true: str  # class in the annotations, or ""
    score: float  # of the detection; for "never found", the highest IoU of any detection with the object
    annotation_id: int | None  # of the object; None for "unlabelled"


def suspects(evidence: Evidence) -> list[Suspect]:
    """List confident detections that contradict the annotations, and objects that no detection comes near.

    The former are hotcoco's candidates among detections with scores of at least 0.7, most confident first: nothing, or
    another class, is annotated there. An object is "never found" if no detection of any class and score has an IoU of
    0.5 with it.
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
        identity = None if kind == "unlabelled" else int(evidence.truth.ids[one["gt_id"] - 1])
        image = image_of[one["image_id"]]
        listed.append(Suspect(kind, image, tuple(box), one["dt_category"], true, one["dt_score"], identity))
    return sorted(listed, key=lambda one: -one.score)


def _never_found(evidence: Evidence) -> list[Suspect]:
    """List the non-ignored objects without any detection near them, largest first."""
    truth = evidence.truth
    listed = []
    for i, nearest in enumerate(_nearest(evidence)):
        rows = truth.rows(i)
        columns = (one[rows].tolist() for one in (truth.boxes, truth.labels, truth.ignore, truth.ids))
        for box, label, ignored, identity, iou in zip(*columns, nearest, strict=True):
            if not ignored and iou < _NEAR:
                name = evidence.names[label - 1]
                listed.append(Suspect("never found", i, tuple(box), "", name, float(iou), identity))
    return sorted(listed, key=lambda one: -one.box[2] * one.box[3])


def _nearest(evidence: Evidence) -> list[Array]:
    """Return, for each image, the highest IoU of each of its objects with any detection."""
    order = np.argsort(evidence.found[:, 0], kind="stable")
    ids = evidence.found[order, 0]
    found = []
    for i, identity in enumerate(evidence.truth.image_ids.tolist()):
        start, end = np.searchsorted(ids, (identity, identity + 1))
        overlap = box_iou(evidence.truth.boxes[evidence.truth.rows(i)].numpy(), evidence.found[order[start:end], 1:5])
        found.append(overlap.max(axis=1, initial=0.0))
    return found
