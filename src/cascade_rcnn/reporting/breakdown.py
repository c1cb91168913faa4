"""AP by size, shape and crowding of the objects.

D detections · A objects
"""

from typing import NamedTuple

import numpy as np
import torch

from cascade_rcnn import boxes as box_ops
from cascade_rcnn.evaluation.coco import Array
from cascade_rcnn.evaluation.matches import AveragePrecision, Matches
from cascade_rcnn.reporting.evidence import Evidence

SIZE_EDGES = (16, 32, 64, 96, 192)  # sides in pixels; COCO's small ends at 32, its medium at 96
SHAPE_EDGES = (1 / 3, 2 / 3, 3 / 2, 3)  # width / height
CROWDING_EDGES = (0.02, 0.2, 0.5)  # IoU with the nearest neighbour

_SIZES = ("up to 16 px", "16 to 32 px", "32 to 64 px", "64 to 96 px", "96 to 192 px", "over 192 px")
_SHAPES = ("tall (under 1:3)", "upright (1:3 to 2:3)", "about square", "wide (3:2 to 3:1)", "very wide (over 3:1)")
_CROWDING = ("alone", "touching (IoU under 0.2)", "overlapping (IoU 0.2 to 0.5)", "crowded (IoU over 0.5)")


class Group(NamedTuple):
    """AP and recall of a group of similar objects, 0 to 1."""

    name: str
    objects: int
    ap: float
    ap50: float
    ap75: float
    recall: float  # of the detections at the report's threshold, at IoU 0.5


class Breakdown(NamedTuple):
    """The groups that contain objects, by each property."""

    size: list[Group]
    shape: list[Group]
    crowding: list[Group]


def breakdown(evidence: Evidence) -> Breakdown:
    """Compute AP and recall by group of objects.

    As in COCO's AP of small objects, detections matched to objects of other groups are ignored. An unmatched detection
    counts in the group of its own size and shape, and in the crowding group of the object that it overlaps most.
    """
    truth = evidence.truth.boxes.numpy()
    found = evidence.found[evidence.pairs.row, 1:5]
    sides = np.sqrt(evidence.truth.areas.numpy()), np.sqrt(found[:, 2] * found[:, 3])
    shapes = _shape(truth), _shape(found)
    crowding = _crowding(evidence, found)
    return Breakdown(
        size=_groups(evidence, _SIZES, *(np.digitize(x, SIZE_EDGES, right=True) for x in sides)),
        shape=_groups(evidence, _SHAPES, *(np.digitize(x, SHAPE_EDGES) for x in shapes)),
        crowding=_groups(evidence, _CROWDING, *(np.digitize(x, CROWDING_EDGES) for x in crowding)),
    )


def _shape(boxes: Array) -> Array:
    return boxes[:, 2] / np.maximum(boxes[:, 3], 1e-6)


def _crowding(evidence: Evidence, found: Array) -> tuple[Array, Array]:
    """Return each object's largest IoU with another (A,), and that of the object a detection overlaps most (D,).

    Ignored regions, such as crowds, are not objects.
    """
    truth, first = evidence.truth.boxes.numpy(), evidence.truth.first.numpy()
    real = np.flatnonzero(~evidence.truth.ignore.numpy())
    starts = np.searchsorted(real, first)
    image = evidence.pairs.matches.image
    order = np.argsort(image, kind="stable")
    ends = np.searchsorted(image[order], np.arange(len(first)))
    of_object, of_detection = np.zeros(len(truth)), np.zeros(len(found))
    for i in range(len(evidence.truth)):
        objects, rows = real[starts[i] : starts[i + 1]], order[ends[i] : ends[i + 1]]
        if not objects.size:
            continue
        among = box_iou(truth[objects], truth[objects])
        np.fill_diagonal(among, 0.0)
        of_object[objects] = among.max(axis=1)
        overlap = box_iou(found[rows], truth[objects])
        touched = overlap.max(axis=1) > 0
        of_detection[rows] = np.where(touched, of_object[objects][overlap.argmax(axis=1)], 0.0)
    return of_object, of_detection


def box_iou(a: Array, b: Array) -> Array:
    """Compute IoU of XYWH boxes: (N, 4), (M, 4) -> (N, M) float64; 0 if both are empty."""
    return box_ops.iou(*(box_ops.from_xywh(torch.from_numpy(boxes)) for boxes in (a, b))).numpy()


def _groups(evidence: Evidence, names: tuple[str, ...], of_object: Array, of_detection: Array) -> list[Group]:
    """Evaluate each group that has objects; objects (A,) and detections (D,) are given as indices into `names`."""
    real = ~evidence.truth.ignore.numpy()
    cell = evidence.object_image * len(evidence.names) + evidence.truth.labels.numpy() - 1
    matches, matched = evidence.pairs.matches, evidence.pairs.object
    shown = matches.score >= evidence.threshold
    found = []
    for k, name in enumerate(names):
        mine = real & (of_object == k)
        if not mine.any():
            continue
        inside = (matched >= 0) & mine[matched]
        right = matches.right & inside
        counts = np.bincount(cell[mine], minlength=matches.truth.size).reshape(matches.truth.shape)
        group = matches._replace(right=right, wrong=matches.wrong & (of_detection == k)[:, None], truth=counts)
        by_iou = AveragePrecision(Matches(*group))()
        recall = float(right[shown, 0].sum() / mine.sum())
        found.append(Group(name, int(mine.sum()), float(by_iou.mean()), float(by_iou[0]), float(by_iou[5]), recall))
    return found
