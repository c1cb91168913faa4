"""Plots as inline SVG: text stays text, and colours follow the page's light or dark scheme."""

import io
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cascade_rcnn.engine.training.learning_curve import Loss
from cascade_rcnn.evaluation.bootstrap import Interval
from cascade_rcnn.evaluation.metrics import IOU_THRESHOLDS
from cascade_rcnn.reporting.calibration import Calibration
from cascade_rcnn.reporting.curves import Curves
from cascade_rcnn.reporting.precision_recall import PrecisionRecall
from cascade_rcnn.reporting.stages import Stages
from cascade_rcnn.reporting.thresholds import Operating

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Placeholders for the page's CSS colours, which matplotlib does not know.
_COLOURS = {
    "#0000f1": "var(--one)",
    "#0000f2": "var(--two)",
    "#0000f3": "var(--three)",
    "#0000f4": "var(--four)",
    "#0000f5": "var(--five)",
    "#0000f6": "var(--six)",
    "#000000": "currentColor",
}
_ONE, _TWO, _THREE, _FOUR, _FIVE, _SIX, _TEXT = _COLOURS
_SERIES = (_ONE, _TWO, _THREE, _FOUR, _FIVE, _SIX)
_STYLE: Any = {
    "svg.fonttype": "none",
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.edgecolor": _TEXT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "grid.color": _TEXT,
    "grid.alpha": 0.15,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "ytick.minor.size": 0,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
}
_OF_LOSSES = {"classifier": _ONE, "box_reg": _TWO, "objectness": _THREE, "rpn_box_reg": _FOUR}


def _plot(draw: Callable[["Axes"], None], label: str, height: float = 2.9) -> str:
    """Draw a plot and return its <svg> element, with `label` as its description."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE | {"svg.hashsalt": label}):
        figure = Figure(figsize=(5.2, height), layout="constrained")
        draw(figure.subplots())
        file = io.StringIO()
        figure.savefig(
            file, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type"))
        )
    return _inline(file.getvalue(), label)


def _inline(svg: str, label: str) -> str:
    """Turn matplotlib's SVG into an element for a page, without declarations and unused ids."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<defs>\s*</defs>", "", svg, flags=re.DOTALL)
    used = set(re.findall(r"[\"(]#(\w+)[\")]", svg))
    svg = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", svg)
    svg = re.sub(r"(font-family: )[^;\"]*'[^;\"]*", r"\1inherit", svg)
    svg = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", svg)
    for stand_in, colour in _COLOURS.items():
        svg = svg.replace(stand_in, colour)
    view = re.search(r'viewBox="[^"]*"', svg)
    assert view is not None  # matplotlib always writes it
    start = f'<svg class="chart" role="img" aria-label="{label}" {view[0]} xmlns:xlink="http://www.w3.org/1999/xlink">'
    return start + svg[svg.index(">") + 1 :]


def losses(curves: Curves) -> str:
    """Plot the total loss and the losses of each stage by update."""

    def draw(axes: "Axes") -> None:
        names = [name for name in curves.losses if name != "loss"]
        axes.plot(curves.steps, curves.losses["loss"], color=_TEXT, label="total")
        for name in names:
            kind, label, line = Loss.named(name)
            colour = _OF_LOSSES.get(kind, _FIVE)
            axes.plot(curves.steps, curves.losses[name], linestyle=line, color=colour, linewidth=1.2, label=label)
        axes.set(xlabel="updates", yscale="log")
        axes.legend(ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.14))

    return _plot(draw, "Training losses by update", 5.0)


def validation(curves: Curves) -> str:
    """Plot AP and AP75 by epoch."""
    from matplotlib.ticker import MaxNLocator

    def draw(axes: "Axes") -> None:
        epochs = [one.epoch for one in curves.evaluated]
        axes.plot(epochs, [100 * one.ap for one in curves.evaluated], "o-", color=_ONE, label="AP", markersize=4)
        axes.plot(epochs, [100 * one.ap75 for one in curves.evaluated], "s-", color=_TWO, label="AP75", markersize=4)
        axes.set(xlabel="epoch", ylabel="AP (%)", ylim=(0, None))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.legend()

    return _plot(draw, "AP and AP75 on the validation data by epoch")


def rate(curves: Curves) -> str:
    """Plot the learning rate by update."""

    def draw(axes: "Axes") -> None:
        axes.plot(curves.steps, curves.rate, color=_FOUR)
        axes.set(xlabel="updates", ylim=(0, None))
        axes.ticklabel_format(axis="y", style="sci", scilimits=(-3, 3))

    return _plot(draw, "Learning rate by update", 1.9)


def by_iou(*intervals: Sequence[Interval]) -> str:
    """Plot AP against the IoU threshold with its interval, one line per detector, whose names the page shows.

    Names do not belong into a plot, which takes some as formulas, hides others, and has no room for long ones.
    """

    def draw(axes: "Axes") -> None:
        for values, colour in zip(intervals, _SERIES, strict=False):
            mean, low, high = (100 * np.array(x) for x in zip(*values, strict=True))
            axes.fill_between(IOU_THRESHOLDS, low, high, color=colour, alpha=0.18, linewidth=0)
            axes.plot(IOU_THRESHOLDS, mean, "o-", color=colour, markersize=4)
        axes.set(xlabel="IoU threshold", ylabel="AP (%)", ylim=(0, 100))

    return _plot(draw, "AP by IoU threshold")


def curves_of_precision(found: Sequence[PrecisionRecall]) -> str:
    """Plot precision-recall curves."""

    def draw(axes: "Axes") -> None:
        for one, colour in zip(found, _SERIES, strict=False):
            axes.plot(one.recall, one.precision, color=colour, label=f"IoU {one.iou:g}")
        axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.03))
        axes.legend()

    return _plot(draw, "Precision-recall curves at IoU 0.5, 0.75 and 0.9")


def reliability(found: Calibration) -> str:
    """Plot precision against score; the dotted line is perfect calibration."""

    def draw(axes: "Axes") -> None:
        axes.plot([0, 1], [0, 1], color=_TEXT, linestyle=":", linewidth=1)
        for one in found.bins:
            axes.bar(one.low, one.precision, width=one.high - one.low, align="edge", color=_ONE, alpha=0.3, linewidth=0)
        axes.plot([one.score for one in found.bins], [one.precision for one in found.bins], "o-", color=_ONE)
        axes.set(xlabel="score", ylabel="precision", xlim=(0, 1), ylim=(0, 1.03))

    return _plot(draw, "Precision by score")


def localization(stages: Stages) -> str:
    """Plot the mean IoU after each stage against that of the proposals; the dotted line means no change."""

    def draw(axes: "Axes") -> None:
        start = np.array(stages.by_bin[0])
        axes.plot([0.5, 1], [0.5, 1], color=_TEXT, linestyle=":", linewidth=1)
        for t, (values, colour) in enumerate(zip(stages.by_bin[1:], _SERIES, strict=False), start=1):
            axes.plot(start, values, "o-", color=colour, markersize=4, label=f"after stage {t}")
        axes.set(xlabel="IoU of the proposal", ylabel="IoU of the box", xlim=(0.5, 1), ylim=(0.5, 1))
        axes.legend(loc="lower right")

    return _plot(draw, "IoU of boxes after each stage, by IoU of their proposals")


def thresholds(found: Sequence[Operating], chosen: float) -> str:
    """Plot precision, recall and F1 against the score threshold."""

    def draw(axes: "Axes") -> None:
        at = [one.threshold for one in found]
        for name, colour in (("precision", _ONE), ("recall", _TWO), ("f1", _THREE)):
            label = name.upper() if name == "f1" else name
            axes.plot(at, [getattr(one, name) for one in found], color=colour, label=label)
        axes.axvline(chosen, color=_TEXT, linestyle=":", linewidth=1)
        axes.set(xlabel="score threshold", xlim=(0, 1), ylim=(0, 1.03))
        axes.legend(loc="lower center", ncols=3)

    return _plot(draw, "Precision, recall and F1 by score threshold")
