"""A training's learning curve as a picture, from its CSV files."""

from pathlib import Path

import numpy as np

from cascade_rcnn.engine.logs import read_csv
from cascade_rcnn.files import replacing


def plot(folder: Path) -> Path:
    """Losses (smoothed) and, where the training was evaluated, AP over updates -> `folder/curve.png`."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    losses, scores = read_csv(folder / "train.csv"), read_csv(folder / "evaluation.csv")
    figure, axes = plt.subplots(1, 2 if scores else 1, figsize=(10 if scores else 5.5, 4), squeeze=False)
    left = axes[0, 0]
    steps = np.array([row["step"] for row in losses])
    parts: dict[str, np.ndarray] = {"loss": _column(losses, "loss")}
    for name in ("objectness", "rpn_box_reg", "classifier", "box_reg"):
        matching = [key for key in losses[0] if key.startswith(f"loss_{name}")]
        parts[name] = np.sum([_column(losses, key) for key in matching], axis=0)
    for name, values in parts.items():
        left.plot(steps, _smooth(values), label=name, linewidth=2 if name == "loss" else 1)
    left.set(xlabel="updates", ylabel="loss", yscale="log", title="Training loss (running mean)")
    left.legend(fontsize=8)
    if scores:
        right = axes[0, 1]
        for name in ("ap", "ap50", "ap75", "ap90"):
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
    plt.close(figure)
    return folder / "curve.png"


def _column(rows: list[dict[str, float]], key: str) -> np.ndarray:
    return np.array([row[key] for row in rows])


def _smooth(values: np.ndarray, width: int = 20) -> np.ndarray:
    """Mean of the last `width` values at each place."""
    total = np.cumsum(np.insert(values, 0, 0.0))
    last = np.arange(1, len(values) + 1)
    start = np.maximum(0, last - width)
    return (total[last] - total[start]) / (last - start)
