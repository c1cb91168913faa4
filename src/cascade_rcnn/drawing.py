"""Draw boxes, masks, class names and scores on images."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL.Image
import PIL.ImageColor
import PIL.ImageDraw
import PIL.ImageFont

from cascade_rcnn.fonts import font_of
from cascade_rcnn.results import load_supervision
from cascade_rcnn.text import storable

if TYPE_CHECKING:
    import supervision

_OPACITY = 0.4  # of masks
_LEGIBLE = 640  # pixels; images with a shorter long side are enlarged towards it
_LARGEST = 8192  # pixels; images with a longer side are shrunk below it
# Ten easily distinguished colours (Tableau's).
_COLORS = ["#d62728", "#1f77b4", "#2ca02c", "#ff7f0e", "#9467bd", "#17becf", "#e377c2", "#bcbd22", "#8c564b", "#7f7f7f"]


def draw(image: np.ndarray, detections: "supervision.Detections") -> PIL.Image.Image:
    """Draw boxes, masks if any, class names and scores on a copy of an RGB image (H, W, 3) uint8.

    Small images are enlarged by an integer factor, so that names are legible and box edges can be judged; very large
    ones are shrunk by one.
    """
    supervision = load_supervision()
    picture, factor = _legible(image)
    mask = _resized(detections.mask, factor, picture.height, picture.width)
    shown = dataclasses.replace(detections, xyxy=detections.xyxy * factor, mask=mask)
    labels = [storable(str(name)) for name in detections.data["class_name"]]  # OpenCV crashes on surrogates
    if detections.tracker_id is not None:
        tracks = [f" #{track}" if track >= 0 else "" for track in detections.tracker_id]
        labels = [name + track for name, track in zip(labels, tracks, strict=True)]
    if detections.confidence is not None:  # ground truth has none
        labels = [f"{name} {score:.2f}" for name, score in zip(labels, detections.confidence, strict=True)]
    colors = supervision.ColorPalette.from_hex(_COLORS)
    side = max(picture.size)
    boxes = supervision.BoxAnnotator(colors, thickness=max(2, round(side / 400)))
    names = supervision.LabelAnnotator(colors, text_scale=max(0.4, side / 2000), text_padding=2, smart_position=True)
    pixels = np.array(picture)[:, :, ::-1].copy()  # supervision paints in BGR
    if shown.mask is not None:
        pixels = supervision.MaskAnnotator(colors, opacity=_OPACITY).annotate(pixels, shown)
    pixels = names.annotate(boxes.annotate(pixels, shown), shown, labels)
    return PIL.Image.fromarray(pixels[:, :, ::-1].copy())


def _legible(image: np.ndarray) -> tuple[PIL.Image.Image, float]:
    """Return the image to draw on, and how much larger it is than the original."""
    longest, picture = max(image.shape[:2]), PIL.Image.fromarray(image)
    if longest > _LARGEST:
        parts = -(-longest // _LARGEST)
        return picture.reduce(parts), 1 / parts
    factor = max(1, round(_LEGIBLE / longest))
    height, width = (side * factor for side in image.shape[:2])
    return picture.resize((width, height), PIL.Image.Resampling.BICUBIC), factor


def _resized(mask: Any, factor: float, height: int, width: int) -> Any:
    """Resize masks (N, H, W) to the size of the picture, sampling at the corner of each pixel."""
    if mask is None or factor == 1:
        return mask
    rows, columns = ((np.arange(side) / factor).astype(int) for side in (height, width))
    return np.asarray(mask)[:, rows[:, None], columns]


def tint(picture: PIL.Image.Image, inside: np.ndarray, color: str) -> None:
    """Paint a colour over pixels (H, W) bool of the image that the picture shows, as opaquely as `draw` does."""
    picture.paste(color, mask=PIL.Image.fromarray(inside * np.uint8(255 * _OPACITY)).resize(picture.size))


def write(pen: PIL.ImageDraw.ImageDraw, place: tuple[float, float], text: str, size: int, color: str) -> None:
    """Write a text (its upper left corner at `place`) on a rectangle of a colour, in legible ink."""
    font = font_of(size, text)
    pen.rectangle(pen.textbbox(place, text, font=font), fill=color)
    pen.text(place, text, fill=_ink_on(color), font=font)


def _ink_on(color: str) -> str:
    """Return black or white, whichever is easier to read on a colour."""
    red, green, blue = PIL.ImageColor.getrgb(color)[:3]
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 150 else "white"


def side_by_side(pictures: Sequence[PIL.Image.Image], captions: Sequence[str], height: int) -> PIL.Image.Image:
    """Place images of a common height (pixels) from left to right, each below its caption or the end of a long one."""
    scaled = [
        p.resize((max(1, round(p.width * height / p.height)), height), PIL.Image.Resampling.LANCZOS) for p in pictures
    ]
    size = max(1, height // 24)  # a very wide image is low
    band, gap = height // 15, height // 60
    width = sum(p.width for p in scaled) + gap * (len(scaled) - 1)
    sheet = PIL.Image.new("RGB", (width, height + band), "white")
    pen, left = PIL.ImageDraw.Draw(sheet), 0
    for picture, caption in zip(scaled, captions, strict=True):
        font = font_of(size, caption)
        pen.text((left, band // 2), _shortened(caption, font, picture.width), fill="black", font=font, anchor="lm")
        sheet.paste(picture, (left, band))
        left += picture.width + gap
    return sheet


def _shortened(text: str, font: PIL.ImageFont.FreeTypeFont, width: int) -> str:
    """Return the longest end of a text that fits into `width` pixels."""
    while len(text) > 1 and font.getlength(text) > width:
        text = f"…{text[2:]}"
    return text
