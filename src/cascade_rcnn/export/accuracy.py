"""The AP of a checkpoint and of its export, by which int8 is judged."""

import math
from pathlib import Path
from typing import TypeAlias

from cascade_rcnn.data import Annotations
from cascade_rcnn.engine.evaluate import run_predictor
from cascade_rcnn.engine.predictor import Predictor
from cascade_rcnn.errors import UserError
from cascade_rcnn.evaluation import Metrics
from cascade_rcnn.evaluation.masks import evaluate_detected

Pair: TypeAlias = tuple[float, float]  # of the checkpoint and of the exported file


def measure(
    model: Path, truth: Annotations | None, device: str | None = None, *, needed: bool = False
) -> Metrics | None:
    """Evaluate a checkpoint or an exported file; None without ground truth.

    Raises UserError if the classes are not the model's, or if the AP is `needed` and there are no objects.
    """
    if truth is None:
        return None
    metrics = evaluate_detected(truth, run_predictor(Predictor(model, device=device, trust=True), truth, 1, 1))
    if needed and any(math.isnan(one.ap) for one in (metrics, metrics.masks) if one is not None):
        raise UserError(f"{truth.source}: has no objects to measure the AP of int8 on; give annotations with objects")
    return metrics


def average_precision(before: Metrics | None, after: Metrics | None) -> tuple[Pair | None, Pair | None]:
    """Return the AP of boxes and of masks, None for what was not measured."""
    if before is None or after is None:
        return None, None
    masks = None if before.masks is None or after.masks is None else (before.masks.ap, after.masks.ap)
    return (before.ap, after.ap), masks


def check_drop(boxes: Pair | None, masks: Pair | None, max_drop: float) -> None:
    """Raise UserError if int8 loses more AP than `max_drop`, of boxes or of masks."""
    for what, pair in (("AP", boxes), ("the masks' AP", masks)):
        if pair is not None and pair[0] - pair[1] > max_drop:
            raise UserError(
                f"int8 loses {pair[0] - pair[1]:.3f} of {what} {pair[0]:.3f}, more than --max-drop {max_drop}; "
                "nothing was written: calibrate on more images (--calibration), or use fp16"
            )
