"""Notes on detections that can be evaluated, but may not be what the user thinks they are."""

from collections.abc import Iterator

import numpy as np
import torch

from cascade_rcnn.boxes import from_xywh, iou
from cascade_rcnn.data.annotations import Annotations
from cascade_rcnn.data.assemble import FRACTIONS
from cascade_rcnn.evaluation.coco import Array
from cascade_rcnn.text import count

_MANY_IMAGES, _MANY_BOXES = 0.25, 0.5  # fractions from which on this is unlikely to be intended
_BEYOND = 0.1  # of the side of the image
_FOUND = 0.5  # IoU of an object and its detection
_ENOUGH = 500  # images to judge the classes by: all of COCO's would take twice as long as their evaluation


def doubts(detections: Array, truth: Annotations) -> list[str]:
    """Return a note for each sign that detections (N, 7) have other images or classes, or another box format.

    The rows are those of `load_detections`: image id, x, y, width, height, score, category id. All ids are in `truth`.
    """
    if not len(detections):
        return ["there are no detections"]
    notes = []
    if len(detections) > 1 and np.ptp(detections[:, 5]) == 0:
        notes.append("all detections have the same score, so that AP depends on their order; give their scores")
    ids = truth.image_ids.numpy()
    if (left := int((~np.isin(ids, detections[:, 0])).sum())) >= max(1, _MANY_IMAGES * len(ids)):
        notes.append(f"{left} of {count(len(ids), 'image')} have no detections; are they of the same images?")
    boxes = detections[:, 1:5]
    order = np.argsort(ids)
    limits = truth.image_sizes.numpy()[order][np.searchsorted(ids[order], detections[:, 0]), ::-1]  # (N, 2)
    beyond = (boxes[:, :2] + boxes[:, 2:] > (1 + _BEYOND) * limits).any(axis=1)
    found = detections[np.lexsort((-detections[:, 5], detections[:, 0]))]  # by image, the best ones first
    if (boxes <= 1).all():
        notes.append(FRACTIONS)
    elif form := _other_form(found, truth):
        notes += form
    elif (far := int(beyond.sum())) > _MANY_BOXES * len(boxes):
        notes.append(
            f"{far} of {count(len(boxes), 'box')} reach outside their image; give x, y, width and height in its pixels"
        )
    return [*notes, *_other_classes(found, truth)]


def _overlaps(found: Array, truth: Annotations) -> Iterator[tuple[slice, slice, Array]]:
    """Yield the objects of each image, its detections, and whether they overlap, (G, N); ignored objects never do.

    The detections are sorted by image.
    """
    starts, ends = (np.searchsorted(found[:, 0], truth.image_ids.numpy(), side) for side in ("left", "right"))
    boxes = torch.from_numpy(found[:, 1:5])
    for i in np.flatnonzero(starts < ends)[:_ENOUGH].tolist():
        objects, rows = truth.rows(i), slice(starts[i], ends[i])
        fits = (iou(from_xywh(truth.boxes[objects]), from_xywh(boxes[rows])) >= _FOUND).numpy()
        yield objects, rows, fits & ~truth.ignore[objects].numpy()[:, None]


def _other_form(found: Array, truth: Annotations) -> list[str]:
    """Return a note if most objects are found only if the boxes are read in another form than COCO's."""
    x, y, width, height = found[:, 1:5].T
    forms = {
        "x, y, width, height": (x, y, width, height),
        "corners (x1, y1, x2, y2)": (x, y, np.maximum(width - x, 0), np.maximum(height - y, 0)),
        "the centre, width and height": (x - width / 2, y - height / 2, width, height),
        "y, x, height, width": (y, x, height, width),
        "corners (y1, x1, y2, x2)": (y, x, np.maximum(height - y, 0), np.maximum(width - x, 0)),  # TensorFlow's
    }
    read = [np.column_stack((found[:, 0], *form)) for form in forms.values()]
    numbers = [sum(int(fits.any(axis=1).sum()) for *_, fits in _overlaps(one, truth)) for one in read]
    objects, best = sum(len(fits) for *_, fits in _overlaps(found, truth)), int(np.argmax(numbers))
    if numbers[best] <= max(2 * numbers[0], _MANY_BOXES * objects):
        return []
    what = f"of {count(objects, 'object')}, {numbers[best]} are found if boxes are read as {list(forms)[best]}"
    return [f"{what}, and {numbers[0]} as they are; give x, y, width and height"]


def _other_classes(found: Array, truth: Annotations) -> list[str]:
    """Return a note if most of the objects that are found are found as another class."""
    true, seen = [], []
    for objects, rows, fits in _overlaps(found, truth):
        reached = fits.any(axis=1)
        true += truth.labels[objects].numpy()[reached].tolist()
        seen += found[rows, 6][fits[reached].argmax(axis=1)].tolist()
    names = {category.id: category.name for category in truth.categories}
    pairs = [(truth.class_names[label - 1], names[category]) for label, category in zip(true, seen, strict=True)]
    wrong = [pair for pair in pairs if pair[0] != pair[1]]
    if len(wrong) <= _MANY_BOXES * len(pairs):
        return []
    number = f"of {count(len(pairs), 'object')} found, {len(wrong)} {'is' if len(wrong) == 1 else 'are'}"
    example = f"{wrong[0][0]!r} as {wrong[0][1]!r}"
    return [f"{number} found as another class (first: {example}); do the category ids mean the same?"]
