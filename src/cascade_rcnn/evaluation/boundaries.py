"""Boundary AP (Cheng et al. 2021): mask AP that is sensitive to the outlines of objects of all sizes.

Its IoU is the smaller of mask IoU and boundary IoU, where the boundary of a mask is its pixels within 2 % of the image
diagonal from the outline. It is computed by faster-coco-eval.
"""

from typing import Any

import numpy as np

from cascade_rcnn.data.annotations import Annotations
from cascade_rcnn.evaluation.coco import limits, summarise
from cascade_rcnn.evaluation.metrics import Metrics
from cascade_rcnn.extras import needs
from cascade_rcnn.rle import RLE


def check_installed() -> None:
    """Raise UserError with the command that installs faster-coco-eval if it is missing."""
    needs("boundary AP", "boundary", "faster_coco_eval")


def evaluate_boundaries(
    truth: Annotations, outlines: list[Any], rows: np.ndarray, masks: list[RLE], limit: int
) -> Metrics:
    """Compute COCO metrics of masks by boundary IoU.

    `outlines` are the objects' segmentations in COCO's format; `rows` (N, 7) and `masks` are the N detections, of which
    the `limit` best per image and class count. Raises UserError if faster-coco-eval is missing.
    """
    check_installed()
    from faster_coco_eval import COCO, COCOeval_faster

    reference = COCO(_ground_truth(truth, outlines))
    results = [
        {"image_id": int(row[0]), "category_id": int(row[6]), "score": row[5], "segmentation": dict(mask)}
        for row, mask in zip(rows.tolist(), masks, strict=True)
    ]
    evaluation = COCOeval_faster(reference, reference.loadRes(results), "boundary", print_function=_silent)
    evaluation.params.maxDets = limits(limit)
    evaluation.evaluate()
    evaluation.accumulate()
    precision, recall = (np.asarray(evaluation.eval[name]) for name in ("precision", "recall"))
    return summarise(truth, precision, recall, [int(k) for k in evaluation.params.catIds], limit)


def _ground_truth(truth: Annotations, outlines: list[Any]) -> dict[str, Any]:
    """Return the ground truth as a COCO dataset."""
    sizes = zip(truth.image_ids.tolist(), truth.image_sizes.tolist(), strict=True)
    ids = [category.id for category in truth.categories]
    images = truth.image_ids[truth.owners].tolist()
    columns = (images, truth.labels.tolist(), truth.areas.tolist(), truth.ignore.tolist(), outlines)
    annotations = [
        {"id": k, "image_id": image, "category_id": ids[label - 1], "area": area, "iscrowd": int(crowd),
         "segmentation": outline}
        for k, (image, label, area, crowd, outline) in enumerate(zip(*columns, strict=True), start=1)
    ]  # fmt: skip
    return {
        "images": [{"id": identity, "height": height, "width": width} for identity, (height, width) in sizes],
        "annotations": annotations,
        "categories": [{"id": category.id, "name": category.name} for category in truth.categories],
    }


def _silent(*_: object) -> None:
    """Print nothing."""
