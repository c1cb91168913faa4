"""Training curves, read from the folder of a run."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from cascade_rcnn.engine.training.learning_curve import smooth
from cascade_rcnn.engine.training.metric_log import read_csv

_POINTS = 240  # per curve in a report


class Evaluated(NamedTuple):
    """Validation AP after an epoch."""

    step: int
    epoch: int
    ap: float
    ap75: float


class Curves(NamedTuple):
    """Losses and learning rates by update (a subset of the updates), and AP by epoch."""

    steps: list[int]
    losses: dict[str, list[float]]  # running means; "loss" is the sum of the others
    rate: list[float]  # learning rates
    evaluated: list[Evaluated]
    epochs: int
    updates: int


def read_curves(run: Path) -> Curves | None:
    """Read train.csv and evaluation.csv; return None before the first update. Raises UserError for a damaged file."""
    rows, scores = read_csv(run / "train.csv"), read_csv(run / "evaluation.csv")
    if not rows:
        return None
    names = ["loss", *(name for name in rows[0] if name.startswith("loss_"))]
    kept = np.unique(np.linspace(0, len(rows) - 1, _POINTS).round().astype(int)).tolist()
    epoch_of = {int(row["step"]): int(row["epoch"]) for row in rows}
    losses = {name: smooth(np.array([row[name] for row in rows]))[kept].tolist() for name in names}
    return Curves(
        steps=[int(rows[k]["step"]) for k in kept],
        losses=losses,
        rate=[rows[k]["lr"] for k in kept],
        evaluated=[
            Evaluated(int(row["step"]), epoch_of.get(int(row["step"]), 0), row["ap"], row["ap75"]) for row in scores
        ],
        epochs=int(rows[-1]["epoch"]),
        updates=int(rows[-1]["step"]),
    )
