"""Plots of figures with matplotlib: PNG and SVG, legible in print."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cascade_rcnn.files import replacing
from cascade_rcnn_study.curves import Panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Distinguishable for colour-blind readers and, by their markers, in greyscale.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#444444")
_MARKERS = ("o", "s", "^", "D")
_STYLE: Any = {  # matplotlib types it as a literal of all keys
    "font.size": 10,
    "axes.titlesize": 10,
    "legend.fontsize": 8,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "svg.hashsalt": "cascade-rcnn",  # the same numbers give the same file
}


def save(figure: "Figure", path: Path) -> None:
    """Write a plot as `path`.png and `path`.svg."""
    import matplotlib as mpl

    with mpl.rc_context(_STYLE):
        layout = figure.get_layout_engine()
        if layout is not None:  # lay out once; figures with a layout engine, even "none", are drawn twice when saved
            layout.execute(figure)
            figure.set_layout_engine(None)
        for suffix, metadata in ((".png", None), (".svg", {"Date": None})):
            with replacing(path.with_suffix(suffix)) as aside:
                figure.savefig(aside, format=suffix[1:], dpi=200, metadata=metadata)


def _axes(rows: int, columns: int, width: float, height: float, **shared: Any) -> tuple["Figure", Any]:
    """Create a figure without a window or global state, and its axes (rows, columns)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False, **shared)


def plot_curves(panels: Sequence[Panel]) -> "Figure":
    """Plot Figure 1, 5, 6 or 7; the panels share their scale if they all show the same quantities."""
    import matplotlib as mpl

    with mpl.rc_context(_STYLE):
        alike = len({(panel.xlabel, panel.ylabel) for panel in panels}) == 1
        figure, axes = _axes(1, len(panels), 3.6, 3.3)
        tops = [_top(panel) for panel in panels]
        for axis, panel, top in zip(axes[0], panels, tops, strict=True):
            _draw_panel(axis, panel, max(tops) if alike else top)
    return figure


def _top(panel: Panel) -> float:
    """Return the largest value, with room above it for the legend."""
    return max((y for curve in panel.curves for y in curve.y), default=0) * (1.25 + 0.05 * len(panel.curves))


def _draw_panel(axis: "Axes", panel: Panel, top: float) -> None:
    """Draw one panel, AP up to `top`."""
    axis.set(title=panel.title, xlabel=panel.xlabel, ylabel=panel.ylabel)
    measured = [curve for curve in panel.curves if curve.missing is None]
    if not measured:
        axis.set(xticks=[], yticks=[])
        axis.text(0.5, 0.5, "not measured", transform=axis.transAxes, ha="center", color="0.4")
        return
    for curve in measured:
        axis.plot(
            curve.x,
            curve.y,
            color=_COLOURS[curve.look],
            marker=_MARKERS[curve.look],
            markersize=4,
            markerfacecolor="white" if curve.dashed else None,
            linestyle="--" if curve.dashed else "-",
            linewidth=1.4,
            label=curve.label,
        )
    if panel.diagonal:
        axis.axline((0.5, 0.5), slope=1, color="0.6", linewidth=1.5, zorder=0)
        axis.set(xlim=(0.5, 1.0), ylim=(0.35, 1.0))
    else:
        axis.set(xlim=(0.48, 0.97), ylim=(0, max(top, 1.0)))
        axis.set(yticks=[tick for tick in axis.get_yticks() if tick <= min(top, 100)])  # none above 100 %
    # These corners are free, as IoU curves rise and AP curves fall.
    axis.legend(loc="lower right" if panel.diagonal else "upper right")


def plot_scatter(stages: Sequence[Mapping[str, Any]]) -> "Figure":
    """Plot Figure 2 with a column for each stage, and shifts above scales."""
    import matplotlib as mpl
    import numpy as np

    with mpl.rc_context(_STYLE):
        figure, axes = _axes(2, len(stages), 2.6, 2.6, sharex="row", sharey="row")
        for column, stage in enumerate(stages):
            points = np.array(stage["scatter"]).reshape(-1, 4)
            outlier = np.array(stage["scatter_is_outlier"], dtype=bool)
            for row, (names, limit) in enumerate(((("x", "y"), 0.7), (("w", "h"), 1.0))):
                axis, both = axes[row, column], points[:, 2 * row : 2 * row + 2]
                for chosen, colour in ((outlier, "red"), (~outlier, _COLOURS[0])):
                    axis.scatter(*both[chosen].T, s=2, color=colour, linewidths=0, rasterized=True)
                axis.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal", xlabel=rf"$\delta_{names[0]}$")
                axis.set(xticks=(-0.5, 0, 0.5), yticks=(-0.5, 0, 0.5))
                axis.text(0.03, 0.97, _statistics(stage, row, names), transform=axis.transAxes, va="top", fontsize=7)
            axes[0, column].set_title(f"stage {column + 1}, u = {stage['u']:g}")
        for row, name in enumerate("yh"):
            axes[row, 0].set_ylabel(rf"$\delta_{name}$")
    return figure


def _statistics(stage: Mapping[str, Any], row: int, names: Sequence[str]) -> str:
    if stage["mean"] is None:
        return "no samples"
    lines = (
        rf"$\mu_{name}$ = {round(stage['mean'][2 * row + k], 3) + 0.0:.3f}, "
        rf"$\sigma_{name}$ = {stage['std'][2 * row + k]:.3f}"
        for k, name in enumerate(names)
    )
    return "\n".join(lines)


def plot_histograms(stages: Sequence[Mapping[str, Any]], edges: Sequence[float]) -> "Figure":
    """Plot Figure 4 for IoU from .5 on, with the percentage of all samples above each threshold in red."""
    import matplotlib as mpl

    with mpl.rc_context(_STYLE):
        figure, axes = _axes(1, len(stages), 2.9, 2.8)
        for t, (axis, stage) in enumerate(zip(axes[0], stages, strict=True), start=1):
            first = next(k for k, edge in enumerate(edges) if edge >= 0.5 - 1e-9)
            heights = stage["histogram"][first:]
            axis.stairs(heights, edges[first:], fill=True, color=_COLOURS[0], alpha=0.6)
            top = max(*heights, 1)
            for u, percent in stage["percent_above"].items():
                axis.axvline(float(u), color="red", linewidth=1, linestyle=":")
                text = "-" if percent is None else f"{percent:.1f}%"
                axis.text(float(u) + 0.006, 1.12 * top, text, color="red", fontsize=8, va="center")
            axis.set(xlim=(0.5, 1.0), ylim=(0, 1.22 * top), title=f"stage {t}", xlabel="IoU")
        axes[0, 0].set_ylabel("training samples")
    return figure
