"""Findings about boxes: empty, outside the image, annotated twice, in two classes, or very elongated."""

from collections.abc import Sequence

import hotcoco
import numpy as np
import torch

from cascade_rcnn import boxes as box_ops
from cascade_rcnn.inspection.findings import Finding, Record, finding
from cascade_rcnn.inspection.splits import Split

TOLERANCE = 0.5  # pixels; files round to 0.01 pixels, and labelling tools to 0.5 pixels
_COINCIDE = 0.95  # IoU, as in hotcoco's health check


def box_findings(splits: Sequence[Split]) -> list[Finding]:
    """Return the findings about the boxes of all splits."""
    records: dict[str, list[Record]] = {
        code: [] for code in ("lost_box", "reaching_box", "repeated_box", "two_classes", "thin_box")
    }
    for split in splits:
        lost, reaching, beyond = _placed(split)
        records["lost_box"] += [split.box(row, _why_lost(split, row)) for row in np.flatnonzero(lost).tolist()]
        farthest = np.flatnonzero(reaching)[np.argsort(-beyond[reaching], kind="stable")]
        records["reaching_box"] += [split.box(row, f"{beyond[row]:.3g} pixels outside") for row in farthest.tolist()]
        health = _health(split, ~lost & split.sized)
        for first, second, overlap in _coinciding(split, health.get("near_duplicate", [])):
            labels = split.annotations.labels
            code = "repeated_box" if labels[first] == labels[second] else "two_classes"
            other = split.box(first)
            detail = f"IoU {overlap:.2f} with box {other.index} ({other.label}) of the image"
            records[code].append(split.box(second, detail, other))
        for row in health.get("extreme_aspect_ratio", []):
            width, height = split.annotations.boxes[row, 2:].tolist()
            records["thin_box"].append(split.box(row, f"{width:.4g} x {height:.4g} pixels"))
    return [one for code, some in records.items() for one in finding(code, some)]


def _placed(split: Split) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return which boxes training drops, which extend beyond their image, and by how many pixels, (A,) each."""
    boxes, limits = split.annotations.boxes.numpy(), split.annotations.image_sizes.numpy()[split.owners, ::-1]
    low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    lost = (np.minimum(high, limits) <= np.maximum(low, 0)).any(axis=1) & split.sized
    beyond = np.maximum(-low, high - limits).max(axis=1, initial=0)
    return lost, (beyond > TOLERANCE) & ~lost & split.sized, beyond


def _why_lost(split: Split, row: int) -> str:
    x, y, width, height = split.annotations.boxes[row].tolist()
    if min(width, height) <= 0:
        return f"{width:.4g} x {height:.4g} pixels"
    rows, columns = split.annotations.image_sizes[int(split.owners[row])].tolist()
    return f"at {x:.4g}, {y:.4g} in an image of {columns} x {rows}"


def _health(split: Split, wanted: np.ndarray) -> dict[str, list[int]]:
    """Return rows by hotcoco's warning code. It only compares boxes of the same class, so all get the same one."""
    truth, rows = split.annotations, np.flatnonzero(wanted & ~split.annotations.ignore.numpy())
    sizes = zip(truth.image_ids.tolist(), truth.image_sizes.tolist(), strict=True)
    data = hotcoco.COCO.from_arrays(
        [{"id": identity, "height": height, "width": width} for identity, (height, width) in sizes],
        [{"id": 1, "name": "object"}],
        truth.image_ids.numpy()[split.owners[rows]],
        np.ones(len(rows), np.int64),
        truth.boxes.numpy()[rows],
        ids=rows + 1,
    )
    return {one["code"]: sorted(k - 1 for k in one["affected_ids"]) for one in data.healthcheck()["warnings"]}


def _coinciding(split: Split, rows: Sequence[int]) -> list[tuple[int, int, float]]:
    """Return (earlier row, row, IoU) for each row that coincides with an earlier one of its image, the best match."""
    by_image: dict[int, list[int]] = {}
    for row in rows:
        by_image.setdefault(int(split.owners[row]), []).append(row)
    pairs = []
    for group in by_image.values():
        corners = box_ops.from_xywh(split.annotations.boxes[torch.tensor(group)])
        best, of = box_ops.iou(corners, corners).tril(-1).max(dim=1)
        pairs += [
            (group[j], row, overlap)
            for row, j, overlap in zip(group, of.tolist(), best.tolist(), strict=True)
            if overlap > _COINCIDE
        ]
    return pairs
