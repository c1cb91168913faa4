"""Notes on detections that can be evaluated, but may not be what the user thinks they are."""

import numpy as np

from cascade_rcnn.data.annotations import FRACTIONS, Annotations
from cascade_rcnn.evaluation.coco import Array
from cascade_rcnn.text import count

_MANY_IMAGES, _MANY_BOXES = 0.25, 0.5  # fractions from which on this is unlikely to be intended
_BEYOND = 0.1  # of the side of the image


def doubts(detections: Array, truth: Annotations) -> list[str]:
    """Return a note for each sign that detections (N, 7) belong to other images, or have another box format.

    The rows are those of `load_detections`: image id, x, y, width, height, score, category id. All ids are in `truth`.
    """
    if not len(detections):
        return ["there are no detections"]
    notes = []
    ids = truth.image_ids.numpy()
    if (left := int((~np.isin(ids, detections[:, 0])).sum())) >= max(1, _MANY_IMAGES * len(ids)):
        notes.append(f"{left} of {count(len(ids), 'image')} have no detections; are they of the same images?")
    boxes = detections[:, 1:5]
    order = np.argsort(ids)
    limits = truth.image_sizes.numpy()[order][np.searchsorted(ids[order], detections[:, 0]), ::-1]  # (N, 2)
    beyond = (boxes[:, :2] + boxes[:, 2:] > (1 + _BEYOND) * limits).any(axis=1)
    if (boxes <= 1).all():
        notes.append(FRACTIONS)
    elif (far := int(beyond.sum())) > _MANY_BOXES * len(boxes):
        notes.append(
            f"{far} of {count(len(boxes), 'box')} reach outside their image; give x, y, width and height, not corners"
        )
    return notes
