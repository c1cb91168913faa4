"""Figure 1 (a, b) drawn: a row for each detector, its boxes coloured by how well they fit an object."""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import PIL.Image

from cascade_rcnn.images.decoding import open_image

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN = 0.5  # score of a detection that is drawn
QUALITIES = ((0.75, "#21a366", "IoU >= .75"), (0.5, "#f5a524", "IoU .5 to .75: close"), (0.0, "#e5484d", "IoU < .5"))
_TRUTH = "white"
_INCHES = 3.4  # of a picture's width


def colour(iou: float) -> str:
    """Return the colour of a box with this IoU."""
    return next(colour for least, colour, _ in QUALITIES if iou >= least)


def decode(picture: str) -> PIL.Image.Image:
    """Decode the picture of an output. Raises UserError or ValueError for a damaged one."""
    with open_image(io.BytesIO(base64.b64decode(picture.partition(",")[2]))) as image:
        image.load()
        return image


def plot_outputs(panels: Mapping[str, Sequence[Mapping[str, Any]]]) -> "Figure":
    """Plot panels by title, each the outputs of one detector on the same images."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    first = next(iter(panels.values()))
    widths = [output["size"][0] / output["size"][1] for output in first]  # of pictures of the same height
    height = _INCHES * len(first) / sum(widths)
    figure = Figure(figsize=(_INCHES * len(first), (height + 0.25) * len(panels) + 0.35), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(panels), len(first), squeeze=False, width_ratios=widths)
    for row, (title, outputs) in zip(axes, panels.items(), strict=True):
        row[0].set_title(title, fontsize=10, loc="left")
        for axis, output in zip(row, outputs, strict=True):
            _draw(axis, output)
    lines = [Line2D([], [], color=colour, label=label) for _, colour, label in QUALITIES]
    lines.append(Line2D([], [], color="0.5", linestyle=":", label="annotated"))
    figure.legend(handles=lines, loc="outside lower center", ncols=len(lines), fontsize=8, frameon=False)
    return figure


def _draw(axis: "Axes", output: Mapping[str, Any]) -> None:
    width, height = output["size"]
    axis.imshow(decode(output["picture"]), extent=(0, width, height, 0))
    axis.set_axis_off()
    for box in output["truth"]:
        _box(axis, box, _TRUTH, linestyle=":")
    found = sorted(zip(output["scores"], output["boxes"], output["ious"], strict=True))
    for score, box, iou in found:
        if score >= SHOWN:
            _box(axis, box, colour(iou), linewidth=1.5)
            inside = box[1] < 0.04 * height  # the text would be cut off above the box
            text = {"color": "white", "fontsize": 6, "va": "top" if inside else "bottom", "clip_on": True}
            background = {"facecolor": colour(iou), "edgecolor": "none", "pad": 0.8}
            axis.text(box[0], box[1], f"{score:.2f}", bbox=background, **text)


def _box(axis: "Axes", box: Sequence[float], colour: str, **style: Any) -> None:
    from matplotlib.patches import Rectangle

    x1, y1, x2, y2 = box
    axis.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=colour, **style))
