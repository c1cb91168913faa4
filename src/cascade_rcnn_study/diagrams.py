"""Draw Figure 3: the image at the bottom, its features above it, then a column for the RPN and for each head."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cascade_rcnn_study.architectures import Architecture, Column

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = {"H": "#CFE2F3", "C": "#FCE5CD", "B": "#D9EAD3", "conv": "#EEEEEE", "pool": "#EEEEEE", "image": "#FFFFFF"}
_STEP = 1.7  # from a column to the next
_WIDTH, _HEIGHT = 0.66, 0.54  # of a box
_ROW = 0.6  # from a classifier to the one above it
_LEVELS = {"image": 0.0, "conv": 0.9, "pool": 1.9, "head": 2.8, "out": 3.8}
_HALF = 0.38  # from a column's middle to its classifier and its regressor


def plot_architectures(panels: Sequence[Architecture]) -> "Figure":
    """Plot the panels in rows of two; each column of panels is as wide as its longest chain of heads."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    widths = [max(len(panel.columns) for panel in panels[side::2]) * _STEP + 0.2 for side in (0, 1)]
    heights = [max(map(_height, panels[k : k + 2])) for k in range(0, len(panels), 2)]
    figure = Figure(figsize=(0.85 * sum(widths), 0.85 * sum(heights) + 0.3 * len(heights)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(heights), 2, squeeze=False, width_ratios=widths, height_ratios=heights)
    for k, axis in enumerate(axes.flat):
        axis.set_axis_off()
        if k < len(panels):
            axis.set(
                xlim=(-0.95, widths[k % 2] - 0.95), ylim=(-0.4, heights[k // 2] - 0.4), aspect="equal", anchor="SW"
            )
            axis.set_title(panels[k].title, fontsize=10, loc="left")
            _draw(axis, panels[k])
    return figure


def _height(panel: Architecture) -> float:
    most = max(len(column.classifiers) for column in panel.columns)
    return 0.4 + _LEVELS["out"] + _HEIGHT / 2 + (most - 1) * _ROW + 0.1


def _draw(axis: "Axes", panel: Architecture) -> None:
    _box(axis, 0, _LEVELS["image"], "image")
    _box(axis, 0, _LEVELS["conv"], "conv")
    _arrow(axis, (0, _LEVELS["image"]), (0, _LEVELS["conv"]))
    for k, column in enumerate(panel.columns):
        middle = k * _STEP
        if k == 0:
            _arrow(axis, (0, _LEVELS["conv"]), (0, _LEVELS["head"]))
        else:
            _box(axis, middle, _LEVELS["pool"], "pool")
            _arrow(axis, (0, _LEVELS["conv"]), (middle, _LEVELS["pool"]), elbow=True)
            _arrow(axis, (middle, _LEVELS["pool"]), (middle, _LEVELS["head"]))
            regressor = (middle - _STEP + _HALF, _LEVELS["out"])  # of the previous column, whose boxes are pooled
            _arrow(axis, regressor, (middle, _LEVELS["pool"]), beside=True)
        _column(axis, middle, column)


def _column(axis: "Axes", middle: float, column: Column) -> None:
    _box(axis, middle, _LEVELS["head"], column.head)
    for row, name in enumerate(column.classifiers):
        text = f"{name}\nu = {column.ious[row]:g}" if column.ious else name
        _box(axis, middle - _HALF, _LEVELS["out"] + row * _ROW, text)
    _box(axis, middle + _HALF, _LEVELS["out"], column.regressor)
    for side in (-_HALF, _HALF):
        _arrow(axis, (middle, _LEVELS["head"]), (middle + side, _LEVELS["out"]))


def _box(axis: "Axes", x: float, y: float, text: str) -> None:
    from matplotlib.patches import FancyBboxPatch

    colour = _COLOURS.get(text) or _COLOURS[text[0]]
    shape: Any = FancyBboxPatch(
        (x - _WIDTH / 2, y - _HEIGHT / 2), _WIDTH, _HEIGHT, boxstyle="round,pad=0,rounding_size=0.06",
        facecolor=colour, edgecolor="0.3", zorder=2,
    )  # fmt: skip
    axis.add_patch(shape)
    axis.text(x, y, text, ha="center", va="center", fontsize=8, linespacing=1.0, zorder=3)


def _arrow(
    axis: "Axes", start: tuple[float, float], end: tuple[float, float], *, elbow: bool = False, beside: bool = False
) -> None:
    """Draw an arrow between boxes: upward; right, then up (`elbow`); or down, then right (`beside`)."""
    (x, y), (to_x, to_y) = start, end
    half = _HEIGHT / 2
    points = [(x, y + half), (to_x, to_y - half)]
    if elbow:
        points = [(x + _WIDTH / 2, y), (to_x, y), (to_x, to_y - half)]
    elif beside:
        points = [(x, y - half), (x, to_y), (to_x - _WIDTH / 2, to_y)]
    style: dict[str, Any] = {"color": "0.3", "linewidth": 1.0}
    axis.plot(*zip(*points[:-1], strict=True), zorder=1, **style)
    axis.annotate("", points[-1], points[-2], arrowprops={"arrowstyle": "->", "shrinkA": 0, "shrinkB": 0, **style})
