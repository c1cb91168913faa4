"""Detections as a picture."""

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import PIL.Image

from cascade_rcnn.results import load_supervision

if TYPE_CHECKING:
    import supervision

_LEGIBLE = 640  # pixels of the longer side that smaller pictures are enlarged towards
# Ten colours that are told apart at a glance (Tableau's).
_COLORS = ["#d62728", "#1f77b4", "#2ca02c", "#ff7f0e", "#9467bd", "#17becf", "#e377c2", "#bcbd22", "#8c564b", "#7f7f7f"]


def draw(image: np.ndarray, detections: "supervision.Detections") -> PIL.Image.Image:
    """Boxes, class names and scores on a copy of an RGB image (H, W, 3) uint8.

    A small image is enlarged by a whole factor, so that names are legible and edges can be judged.
    """
    supervision = load_supervision()
    factor = max(1, round(_LEGIBLE / max(image.shape[:2])))
    height, width = (side * factor for side in image.shape[:2])
    enlarged = PIL.Image.fromarray(image).resize((width, height), PIL.Image.Resampling.BICUBIC)
    shown = dataclasses.replace(detections, xyxy=detections.xyxy * factor)
    labels = [str(name) for name in detections.data["class_name"]]
    if detections.confidence is not None:  # ground truth has none
        labels = [f"{name} {score:.2f}" for name, score in zip(labels, detections.confidence, strict=True)]
    colors = supervision.ColorPalette.from_hex(_COLORS)
    side = max(height, width)
    boxes = supervision.BoxAnnotator(colors, thickness=max(2, round(side / 400)))
    names = supervision.LabelAnnotator(colors, text_scale=max(0.4, side / 2000), text_padding=2, smart_position=True)
    picture = np.array(enlarged)[:, :, ::-1].copy()  # supervision paints in BGR
    picture = names.annotate(boxes.annotate(picture, shown), shown, labels)
    return PIL.Image.fromarray(picture[:, :, ::-1].copy())
