"""Draw the boxes of one or several stages, and masks."""

from typing import NamedTuple

import numpy as np
import PIL.Image
import PIL.ImageDraw

from cascade_rcnn.drawing import tint, write
from cascade_rcnn.models.trace import Trace

_COLORS = ("#7f7f7f", "#ff7f0e", "#1f77b4", "#2ca02c", "#9467bd", "#17becf")  # of stages 0, 1, 2, ...
_SIDE = 1024  # long side of a picture in pixels


def stage_color(stage: int) -> str:
    """Return the colour of a stage's boxes."""
    return _COLORS[stage % len(_COLORS)]


def stage_name(stage: int) -> str:
    """Return the name of a stage; 0 stands for the proposals."""
    return f"stage {stage}" if stage else "proposals"


class Canvas(NamedTuple):
    """An image in the size in which it is shown, made once and drawn on often."""

    picture: PIL.Image.Image
    scale: float  # how much larger it is than the image


def canvas(image: np.ndarray) -> Canvas:
    """Resize an RGB image (H, W, 3)."""
    scale = _SIDE / max(image.shape[:2])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return Canvas(PIL.Image.fromarray(image).resize(size, PIL.Image.Resampling.LANCZOS), scale)


def draw_stages(canvas: Canvas, trace: Trace, class_names: list[str], stages: list[int]) -> PIL.Image.Image:
    """Draw the boxes of `stages` on a copy of an image.

    Labels at the boxes of the last of these stages show the class, the score of its classifier (proposals have none)
    and the IoU with the final box. Masks belong to the final boxes, and are drawn with them alone.
    """
    picture, scale = canvas.picture.copy(), canvas.scale
    pen = PIL.ImageDraw.Draw(picture)
    ious, last = trace.ious, trace.boxes.shape[1] - 1
    if trace.masks is not None and stages[-1] == last:
        tint(picture, trace.masks.union().numpy(), stage_color(last))
    for stage in stages:
        for box in reversed(trace.boxes[:, stage] * scale):  # highest scores on top
            pen.rectangle(box.tolist(), outline=stage_color(stage), width=4 if stage == stages[-1] else 2)
    stage = stages[-1]
    for row in reversed(range(len(trace.boxes))):
        sure = f" {trace.stage_scores[row, stage - 1]:.2f}" if stage else ""
        iou = f"  IoU {ious[row, stage]:.2f}" if stage < last else ""
        text = f"{class_names[trace.labels[row] - 1]}{sure}{iou}"
        _label(pen, trace.boxes[row, stage] * scale, text, stage_color(stage))
    return picture


def _label(pen: PIL.ImageDraw.ImageDraw, box: np.ndarray, text: str, color: str) -> None:
    left, top = max(0.0, float(box[0])), max(0.0, float(box[1]) - 29)
    write(pen, (left + 4, top + 2), text, 20, color)
