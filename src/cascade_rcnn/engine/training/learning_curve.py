"""Plots of the learning curve of a training run, from its CSV files."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from cascade_rcnn.engine.training.metric_log import read_csv
from cascade_rcnn.files import replacing

_LABELS = {
    "objectness": "RPN objectness",
    "rpn_box_reg": "RPN boxes",
    "classifier": "classes",
    "box_reg": "boxes",
    "mask": "masks",
}
_COLOURS = {
    "objectness": "tab:green",
    "rpn_box_reg": "tab:olive",
    "classifier": "tab:blue",
    "box_reg": "tab:red",
    "mask": "tab:purple",
}
_LINES = ("-", "--", ":", "-.")  # per stage


class Loss(NamedTuple):
    """How plots show a loss: those of a kind have a colour in common, those of a stage a line style."""

    kind: str
    label: str  # "boxes, stage 2"
    line: str

    @classmethod
    def named(cls, name: str) -> "Loss":
        """Return that of a column of train.csv, such as loss_box_reg_stage2."""
        kind, _, stage = name.removeprefix("loss_").partition("_stage")
        label = _LABELS.get(kind, kind) + (f", stage {stage}" if stage else "")
        return cls(kind, label, _LINES[(int(stage or 1) - 1) % len(_LINES)])


def plot(folder: Path) -> Path:
    """Plot the smoothed losses and, if evaluated, AP by update to `folder/curve.png`; return its path."""
    from matplotlib.figure import Figure  # without pyplot, whose backend is the caller's

    losses, scores = read_csv(folder / "train.csv"), read_csv(folder / "evaluation.csv")
    figure = Figure(figsize=(10 if scores else 5.5, 4.5))
    axes = figure.subplots(1, 2 if scores else 1, squeeze=False)
    left = axes[0, 0]
    steps = np.array([row["step"] for row in losses])
    left.plot(steps, smooth(_column(losses, "loss")), label="all", color="black", linewidth=2)
    for name in (key for key in losses[0] if key.startswith("loss_")):
        kind, label, line = Loss.named(name)
        style = {"color": _COLOURS.get(kind, "tab:gray"), "linestyle": line, "linewidth": 1}
        left.plot(steps, smooth(_column(losses, name)), label=label, **style)
    left.set(xlabel="updates", ylabel="loss", yscale="log", title="Training loss (running mean)")
    left.legend(fontsize=7, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.15))
    if scores:
        right = axes[0, 1]
        for name in (name for name in ("ap", "ap50", "ap75", "ap90", "ap_segm") if name in scores[0]):
            right.plot(
                [row["step"] for row in scores], [row[name] for row in scores], "o-", markersize=3, label=name.upper()
            )
        right.set(xlabel="updates", ylabel="average precision", ylim=(0, 1), title="Validation")
        right.legend(fontsize=8)
    for axis in axes.flat:
        axis.grid(alpha=0.3)
    figure.tight_layout()
    with replacing(folder / "curve.png") as aside:
        figure.savefig(aside, format="png", dpi=130)
    return folder / "curve.png"


def _column(rows: list[dict[str, float]], key: str) -> np.ndarray:
    return np.array([row[key] for row in rows])


def smooth(values: np.ndarray, width: int = 20) -> np.ndarray:
    """Return the running mean of the last `width` values, (N,)."""
    total = np.cumsum(np.insert(values, 0, 0.0))
    last = np.arange(1, len(values) + 1)
    start = np.maximum(0, last - width)
    return (total[last] - total[start]) / (last - start)
