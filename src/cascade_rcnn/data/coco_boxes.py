"""Boxes in COCO files that are missing, rotated or in another form, as some tools write them."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct

from cascade_rcnn.data.coco_json import File, decode
from cascade_rcnn.data.rotated import degrees, rotation_note, upright
from cascade_rcnn.data.segmentations import bounds, is_absent
from cascade_rcnn.errors import UserError

_MANY = 0.25  # of the boxes, with which it is no accident


class _Outline(Struct, gc=False):
    segmentation: Any = None


class _Outlines(Struct):
    annotations: list[_Outline]


class _Marks(Struct, gc=False):
    """Fields of other tools that would change the meaning of an annotation."""

    attributes: Any = None  # CVAT's: rotation
    ignore: Any = None  # as converters from Pascal VOC write it
    segmentation: msgspec.Raw = msgspec.Raw(b"null")


class _Marked(Struct):
    annotations: list[_Marks] = []


def derive_boxes(path: Path, text: bytes, file: File) -> list[str]:
    """Derive missing boxes from segmentations, and return notes for the user; annotations without either have no box.

    A box of four zeros is missing, too: tools write it for objects of which they only have the outline.
    """
    lengths = [len(row.bbox or ()) for row in file.annotations]
    if odd := [k for k, length in enumerate(lengths) if length not in (0, 4)]:
        raise UserError(
            f"{path}: annotations[{odd[0]}] has a bbox of {lengths[odd[0]]} numbers; give x, y, width, height"
        )
    empty = [k for k, row in enumerate(file.annotations) if not any(row.bbox or ())]
    if not empty:
        return []
    outlines = decode(path, text, _Outlines).annotations
    sizes = {image.id: (image.height or 0, image.width or 0) for image in file.images}
    derived = 0
    for k in empty:
        row = file.annotations[k]
        if (box := bounds(outlines[k].segmentation, sizes.get(row.image_id, (0, 0)))) is not None:
            row.bbox, derived = box, derived + 1
    lost = [k for k in empty if not file.annotations[k].bbox]
    what = "annotations have no bbox, or one of zeros; that of their segmentation is used"
    notes = [f"{derived} of {len(lengths)} {what}"] if derived else []
    if lost:
        notes.append(
            f"{len(lost)} of {len(lengths)} annotations have neither bbox nor a usable segmentation (first: "
            f"annotations[{lost[0]}]); they are ignored"
        )
    return notes


def read_marks(path: Path, text: bytes, file: File) -> list[str]:
    """Make rotated boxes upright, and return notes on them and on a field that evaluation does not know."""
    if b'"rotation"' not in text and b'"ignore"' not in text:
        return []
    turned, ignored = 0, []
    for k, (row, marks) in enumerate(zip(file.annotations, decode(path, text, _Marked).annotations, strict=True)):
        if marks.ignore in (1, "1") and not row.iscrowd:
            ignored.append(k)
        angle = degrees(marks.attributes.get("rotation")) if isinstance(marks.attributes, dict) else 0
        # Outlines are exported as they are in the image, and boxes are those of the outlines.
        if angle % 180 and row.bbox and len(row.bbox) == 4 and is_absent(bytes(marks.segmentation)):
            row.bbox, turned = upright(row.bbox, angle), turned + 1
    notes = rotation_note(turned, len(file.annotations))
    if ignored:
        what = f"{len(ignored)} of {len(file.annotations)} annotations have `ignore` set (first: annotations"
        notes.append(f"{what}[{ignored[0]}]), which COCO's evaluation does not know; set `iscrowd` to ignore them")
    return notes


def corners_note(boxes: np.ndarray, limits: np.ndarray) -> list[str]:
    """Return a note if boxes (A, 4) seem to be x1, y1, x2, y2, given the width and height (A, 2) of their images.

    All lie in their images if they are read so, and otherwise many reach outside: those whose centre is not in the
    upper left quarter, by more than the rounding of tools.
    """
    outside = (boxes[:, :2] + boxes[:, 2:] > limits + 1).any(axis=1)
    corners = (boxes[:, 2:] >= boxes[:, :2]).all(axis=1) & (boxes[:, 2:] <= limits + 1).all(axis=1)
    if not len(boxes) or outside.mean() < _MANY or not corners.all():
        return []
    what = "the boxes seem to be corners (x1, y1, x2, y2), since as such all of them lie in their images"
    return [f"{what}; write x, y, width, height"]
