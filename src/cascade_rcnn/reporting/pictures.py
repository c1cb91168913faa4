"""Pictures for reports: predicted and true boxes and masks side by side, coloured by correctness, and close-ups."""

from typing import NamedTuple

import numpy as np
import PIL.Image
import PIL.ImageDraw

from cascade_rcnn.data.segmentations import decoded
from cascade_rcnn.drawing import side_by_side, tint, write
from cascade_rcnn.pages import Picture, data_uri
from cascade_rcnn.reporting.evidence import Evidence
from cascade_rcnn.reporting.label_errors import Suspect
from cascade_rcnn.reporting.text import decimal
from cascade_rcnn.rle import RLE

RIGHT, WRONG, MISSED, IGNORED, TRUE = "#21a366", "#e5484d", "#f5a524", "#8b8d98", "#3b82f6"
_SIDE = 640  # pixels of the long side of an image before boxes are drawn
_LEAST = 96  # minimum side of a close-up, in pixels of the image
_ROUND = 2.4  # side of a close-up relative to the longer side of the box


class Box(NamedTuple):
    """A box to draw, with its label and mask."""

    xywh: tuple[float, ...]
    colour: str
    text: str = ""
    mask: RLE | None = None


def found_boxes(evidence: Evidence, i: int) -> list[Box]:
    """Return the shown detections of image i: correct ones (IoU 0.5) in green, wrong ones in red, ignored in grey."""
    matches = evidence.pairs.matches
    rows = np.flatnonzero((matches.image == i) & (matches.score >= evidence.threshold))
    boxes = []
    for row in rows[np.argsort(matches.score[rows])]:
        n = int(evidence.pairs.row[row])
        box, mask = tuple(evidence.found[n, 1:5].tolist()), None if evidence.masks is None else evidence.masks[n]
        text = f"{evidence.names[matches.label[row] - 1]} {decimal(float(matches.score[row]))}"
        if matches.right[row, 0]:
            boxes.append(Box(box, RIGHT, "", mask))
        elif matches.wrong[row, 0]:
            boxes.append(Box(box, WRONG, text, mask))
        else:
            boxes.append(Box(box, IGNORED, f"{text}, ignored", mask))
    return boxes


def true_boxes(evidence: Evidence, i: int) -> list[Box]:
    """Return the objects of image i: detected ones in green, missed ones in orange, ignored ones in grey."""
    truth, matches = evidence.truth, evidence.pairs.matches
    shown = (matches.image == i) & (matches.score >= evidence.threshold)
    hit = set(evidence.pairs.object[shown, 0].tolist())
    rows, size = truth.rows(i), truth.image_sizes[i].tolist()
    outlines = None if evidence.masks is None else truth.segmentations  # not beside boxes alone
    boxes = []
    columns = (column[rows].tolist() for column in (truth.boxes, truth.labels, truth.ignore))
    for k, (box, label, ignored) in enumerate(zip(*columns, strict=True), start=rows.start):
        name, mask = evidence.names[label - 1], None if outlines is None else outlines.rle(k, *size)
        if ignored:
            boxes.append(Box(tuple(box), IGNORED, f"{name}, ignored", mask))
        elif k in hit:
            boxes.append(Box(tuple(box), RIGHT, "", mask))
        else:
            boxes.append(Box(tuple(box), MISSED, name, mask))
    return boxes


def pair_picture(left: PIL.Image.Image, right: PIL.Image.Image, captions: tuple[str, str]) -> str:
    """Return two pictures of the same image, side by side, as a data URI."""
    return data_uri(side_by_side([left, right], captions, left.height), longest=2 * _SIDE, quality=72)


def drawn(pixels: np.ndarray, boxes: list[Box]) -> PIL.Image.Image:
    """Resize an image (H, W, 3) uint8 for the page and draw boxes and masks on it."""
    scale = _SIDE / max(pixels.shape[:2])
    image = PIL.Image.fromarray(pixels)
    picture = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))
    _fill(picture, boxes, (slice(None), slice(None)))
    return _draw(picture, boxes, (0.0, 0.0), scale)


def close_up(pixels: np.ndarray, boxes: list[Box]) -> PIL.Image.Image:
    """Draw all boxes on a crop around the first one."""
    x, y, w, h = boxes[0].xywh
    height, width = pixels.shape[:2]
    side = max(_LEAST, _ROUND * max(w, h))
    left, top = (max(0.0, min(c - side / 2, end - side)) for c, end in ((x + w / 2, width), (y + h / 2, height)))
    corner = (round(left), round(top))
    window = slice(corner[1], round(top + side)), slice(corner[0], round(left + side))
    crop = pixels[window]
    scale = 0.5 * _SIDE / max(crop.shape[:2])
    image = PIL.Image.fromarray(np.ascontiguousarray(crop))
    picture = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))
    _fill(picture, boxes[::-1], window)
    return _draw(picture, boxes[::-1], corner, scale)  # the first one on top


def _fill(picture: PIL.Image.Image, boxes: list[Box], window: tuple[slice, slice]) -> None:
    """Paint the masks of the boxes, those of a colour at once, over a picture of this window of the image."""
    by_colour: dict[str, list[RLE]] = {}
    for box in boxes:
        if box.mask is not None:
            by_colour.setdefault(box.colour, []).append(box.mask)
    for colour, masks in by_colour.items():
        whole = decoded((one["counts"] for one in masks), *masks[0]["size"]).union()
        tint(picture, whole.numpy()[window], colour)


def _draw(picture: PIL.Image.Image, boxes: list[Box], corner: tuple[float, float], scale: float) -> PIL.Image.Image:
    pen = PIL.ImageDraw.Draw(picture)
    crowded = len(boxes) > 40  # labels would hide the image
    for (x, y, w, h), colour, text, _ in boxes:
        x1, y1 = (x - corner[0]) * scale, (y - corner[1]) * scale
        x2, y2 = x1 + max(0.0, w * scale), y1 + max(0.0, h * scale)
        pen.rectangle((x1, y1, x2, y2), outline=colour, width=2)
        if text and not crowded:
            write(pen, (max(x1, 0), y1 - 19 if y1 >= 19 else max(y1, 0)), text, 15, colour)
    return picture


def suspect_picture(evidence: Evidence, pixels: np.ndarray, suspect: Suspect) -> Picture:
    """Show a suspect: the detection in red, annotations in blue, an object that was never found in orange."""
    true = [box._replace(colour=TRUE) for box in true_boxes(evidence, suspect.image)]
    if suspect.kind == "never found":
        own = next((box.mask for box in true if box.xywh == suspect.box), None)
        first, others = Box(suspect.box, MISSED, suspect.true, own), [box for box in true if box.xywh != suspect.box]
        caption = f"{suspect.true}: the highest IoU of any detection is {suspect.score:.2f}"
    else:
        first, others = Box(suspect.box, WRONG, f"{suspect.found} {suspect.score:.2f}", _mask(evidence, suspect)), true
        other = f"annotated as {suspect.true}" if suspect.true else "nothing is annotated"
        caption = f"{suspect.found} predicted with score {suspect.score:.2f}; {other}"
    uri = data_uri(close_up(pixels, [first, *others]), longest=_SIDE // 2)
    return Picture(uri, caption, caption, evidence.truth.file_names[suspect.image], [suspect.kind])


def _mask(evidence: Evidence, suspect: Suspect) -> RLE | None:
    """Return the mask of a suspect's detection, if the detector predicts any."""
    if evidence.masks is None:
        return None
    image = float(evidence.truth.image_ids[suspect.image])
    same = (evidence.found[:, :6] == (image, *suspect.box, suspect.score)).all(axis=1)
    return evidence.masks[int(same.argmax())] if same.any() else None
