"""Small pictures of images with boxes. Files are decoded at no higher a resolution than needed."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import PIL.Image
import PIL.ImageDraw

from cascade_rcnn.errors import UserError
from cascade_rcnn.images.decoding import open_image
from cascade_rcnn.images.orientation import SIDEWAYS, orientation
from cascade_rcnn.images.pixels import from_pil
from cascade_rcnn.inspection.findings import Record

LONGEST = 400  # long side of a picture in pixels
_LEAST = 96  # minimum side of a crop around a box, in pixels of the image
_AROUND = 5.0  # side of a crop, relative to the longer side of its box
_MARKED, _OTHERS = "#ff2d55", "#ffd60a"
COLORS = ("#3f7bff", "#ff8a1f", "#25b86b", "#c05cff", "#ff4d6d", "#16b5c9", "#e8c21a", "#f062b8", "#8d6b4f", "#9aa3ad")


class Marked(NamedTuple):
    """A box (x, y, width, height in pixels of the image) to draw, with its colour."""

    box: Sequence[float]
    color: str
    bold: bool = False


def color_of(label: int) -> str:
    """Return the colour of a class, given its label 1..M."""
    return COLORS[(label - 1) % len(COLORS)]


def picture_of(record: Record, others: Sequence[Sequence[float]]) -> PIL.Image.Image | None:
    """Return a picture of a record, or None if its file cannot be read; `others` are the boxes of its image.

    It shows the whole image, a crop around a small box, or two duplicate images side by side.
    """
    marks = [Marked(box, _OTHERS) for box in others]
    if record.box is None:
        if record.other is None:
            return _picture(record.path, marks)
        left, right = _picture(record.other.path, []), _picture(record.path, [])
        return None if left is None or right is None else _beside(left, right)
    if record.other is not None and record.other.box is not None:
        marks.append(Marked(record.other.box, COLORS[0], True))
    return _picture(record.path, [*marks, Marked(record.box, _MARKED, True)], record.box)


def _picture(path: str, marks: Sequence[Marked], around: Sequence[float] | None = None) -> PIL.Image.Image | None:
    try:
        return picture(path, marks, around)
    except UserError:
        return None


def picture(path: str, marks: Sequence[Marked], around: Sequence[float] | None = None) -> PIL.Image.Image:
    """Draw boxes on a reduced image, or on a crop around a box. Raises UserError if the file cannot be read."""
    with open_image(path, None) as image:  # the scan has checked the limit
        turned = image.format != "TIFF" and orientation(image) >= SIDEWAYS
        width, height = image.size[::-1] if turned else image.size
        window = _window(width, height, around)
        scale = LONGEST / max(window[2] - window[0], window[3] - window[1])
        if scale < 1:
            image.draft("RGB", (math.ceil(image.width * scale), math.ceil(image.height * scale)))
        decoded = PIL.Image.fromarray(from_pil(image))
    return _drawn(decoded, window, decoded.width / width, marks)


def drawn(pixels: np.ndarray, marks: Sequence[Marked]) -> PIL.Image.Image:
    """Draw boxes on a reduced copy of an image (H, W, 3) uint8."""
    height, width = pixels.shape[:2]
    return _drawn(PIL.Image.fromarray(pixels), (0, 0, width, height), 1.0, marks)


def _drawn(
    image: PIL.Image.Image, window: tuple[float, float, float, float], factor: float, marks: Sequence[Marked]
) -> PIL.Image.Image:
    """Crop the window (in pixels of the original) from an image scaled by `factor`, and draw on it."""
    left, top, right, bottom = window
    scale = LONGEST / max(right - left, bottom - top)
    size = max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale))
    cut = tuple(min(side * factor, limit) for side, limit in zip(window, image.size * 2, strict=True))
    small = image.resize(size, PIL.Image.Resampling.LANCZOS, box=cut, reducing_gap=2.0)  # type: ignore[arg-type]
    pen = PIL.ImageDraw.Draw(small)
    for box, color, bold in marks:
        x, y, w, h = box
        corners = [(x - left) * scale, (y - top) * scale, (x + w - left) * scale, (y + h - top) * scale]
        a, b, c, d = (min(max(value, -9.0), LONGEST + 9.0) for value in corners)
        for inset, shade in _lines(color, bold):
            frame = (a + inset - 1, b + inset - 1, c - inset + 1, d - inset + 1)
            if frame[2] > frame[0] and frame[3] > frame[1]:
                pen.rectangle(frame, outline=shade)
        if bold and (c - a < 4 or d - b < 4):  # too small or thin to see, or empty
            pen.ellipse((a - 9, b - 9, c + 9, d + 9), outline=color, width=2)
    return small


def _lines(color: str, bold: bool) -> list[tuple[int, str]]:
    """Return the lines of a frame as (inset, colour); bold frames have a dark edge."""
    if color == _OTHERS:
        return [(1, color)]
    return [*([(0, "#000000")] if bold else []), (1, color), (2, color)]


def _window(width: int, height: int, around: Sequence[float] | None) -> tuple[float, float, float, float]:
    """Return the window to show (left, top, right, bottom): the image, or a crop around a box that is small in it."""
    if around is None:
        return 0, 0, width, height
    x, y, w, h = around
    side = max(_LEAST, _AROUND * max(w, h))
    if side >= max(width, height):
        return 0, 0, width, height
    across, down = min(side, width), min(side * 0.75, height)
    left = min(max(x + w / 2 - across / 2, 0), width - across)
    top = min(max(y + h / 2 - down / 2, 0), height - down)
    return left, top, left + across, top + down


def _beside(first: PIL.Image.Image, second: PIL.Image.Image) -> PIL.Image.Image:
    """Place two pictures side by side, at the same height."""
    height = min(first.height, second.height)
    parts = [
        part.resize((max(1, round(part.width * height / part.height)), height), PIL.Image.Resampling.LANCZOS)
        for part in (first, second)
    ]
    sheet = PIL.Image.new("RGB", (parts[0].width + parts[1].width + 6, height), "#808080")
    sheet.paste(parts[0], (0, 0))
    sheet.paste(parts[1], (parts[0].width + 6, 0))
    return sheet
