"""Pictures for reports: predicted and ground-truth boxes side by side, coloured by correctness, and close-ups."""

from typing import NamedTuple

import numpy as np
import PIL.Image
import PIL.ImageDraw

from cascade_rcnn.drawing import side_by_side, write
from cascade_rcnn.pages import Picture, data_uri
from cascade_rcnn.reporting.evidence import Evidence
from cascade_rcnn.reporting.label_errors import Suspect
from cascade_rcnn.reporting.text import decimal

RIGHT, WRONG, MISSED, IGNORED, TRUE = "#21a366", "#e5484d", "#f5a524", "#8b8d98", "#3b82f6"
_SIDE = 640  # pixels of the long side of an image before boxes are drawn
_LEAST = 96  # minimum side of a close-up, in pixels of the image
_ROUND = 2.4  # side of a close-up relative to the longer side of the box


class Box(NamedTuple):
    """A box to draw, with its label."""

    xywh: tuple[float, ...]
    colour: str
    text: str = ""


def found_boxes(evidence: Evidence, i: int) -> list[Box]:
    """Return the shown detections of image i: correct ones (IoU 0.5) in green, wrong ones in red, ignored in grey."""
    matches = evidence.pairs.matches
    rows = np.flatnonzero((matches.image == i) & (matches.score >= evidence.threshold))
    boxes = []
    for row in rows[np.argsort(matches.score[rows])]:
        box = tuple(evidence.found[evidence.pairs.row[row], 1:5].tolist())
        text = f"{evidence.names[matches.label[row] - 1]} {decimal(float(matches.score[row]))}"
        if matches.right[row, 0]:
            boxes.append(Box(box, RIGHT))
        elif matches.wrong[row, 0]:
            boxes.append(Box(box, WRONG, text))
        else:
            boxes.append(Box(box, IGNORED, f"{text}, ignored"))
    return boxes


def true_boxes(evidence: Evidence, i: int) -> list[Box]:
    """Return the objects of image i: detected ones in green, missed ones in orange, ignored ones in grey."""
    truth, matches = evidence.truth, evidence.pairs.matches
    shown = (matches.image == i) & (matches.score >= evidence.threshold)
    hit = set(evidence.pairs.object[shown, 0].tolist())
    rows = truth.rows(i)
    boxes = []
    columns = (column[rows].tolist() for column in (truth.boxes, truth.labels, truth.ignore))
    for k, (box, label, ignored) in enumerate(zip(*columns, strict=True), start=rows.start):
        name = evidence.names[label - 1]
        if ignored:
            boxes.append(Box(tuple(box), IGNORED, f"{name}, ignored"))
        elif k in hit:
            boxes.append(Box(tuple(box), RIGHT))
        else:
            boxes.append(Box(tuple(box), MISSED, name))
    return boxes


def pair_picture(left: PIL.Image.Image, right: PIL.Image.Image, captions: tuple[str, str]) -> str:
    """Return two pictures of the same image, side by side, as a data URI."""
    return data_uri(side_by_side([left, right], captions, left.height), longest=2 * _SIDE, quality=72)


def drawn(pixels: np.ndarray, boxes: list[Box]) -> PIL.Image.Image:
    """Resize an image (H, W, 3) uint8 for the page and draw boxes on it."""
    scale = _SIDE / max(pixels.shape[:2])
    image = PIL.Image.fromarray(pixels)
    picture = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))
    return _draw(picture, boxes, (0.0, 0.0), scale)


def close_up(pixels: np.ndarray, boxes: list[Box]) -> PIL.Image.Image:
    """Draw all boxes on a crop around the first one."""
    x, y, w, h = boxes[0].xywh
    height, width = pixels.shape[:2]
    side = max(_LEAST, _ROUND * max(w, h))
    left, top = (max(0.0, min(c - side / 2, end - side)) for c, end in ((x + w / 2, width), (y + h / 2, height)))
    corner = (round(left), round(top))
    crop = pixels[corner[1] : round(top + side), corner[0] : round(left + side)]
    scale = 0.5 * _SIDE / max(crop.shape[:2])
    image = PIL.Image.fromarray(np.ascontiguousarray(crop))
    picture = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))
    return _draw(picture, boxes[::-1], corner, scale)  # the first one on top


def _draw(picture: PIL.Image.Image, boxes: list[Box], corner: tuple[float, float], scale: float) -> PIL.Image.Image:
    pen = PIL.ImageDraw.Draw(picture)
    crowded = len(boxes) > 40  # labels would hide the image
    for (x, y, w, h), colour, text in boxes:
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
        first, others = Box(suspect.box, MISSED, suspect.true), [box for box in true if box.xywh != suspect.box]
        caption = f"{suspect.true}: the highest IoU of any detection is {suspect.score:.2f}"
    else:
        first, others = Box(suspect.box, WRONG, f"{suspect.found} {suspect.score:.2f}"), true
        other = f"annotated as {suspect.true}" if suspect.true else "nothing is annotated"
        caption = f"{suspect.found} predicted with score {suspect.score:.2f}; {other}"
    uri = data_uri(close_up(pixels, [first, *others]), longest=_SIDE // 2)
    return Picture(uri, caption, caption, evidence.truth.file_names[suspect.image], [suspect.kind])
