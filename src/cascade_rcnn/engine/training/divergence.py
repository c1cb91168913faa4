"""Detection of a training run that diverges: its losses explode, but stay finite.

The losses often fall again, to those of a model that finds nothing.
"""

import sys
from collections import deque
from statistics import median

from cascade_rcnn.engine.training.callbacks import Callback, StepEnd
from cascade_rcnn.recipes import OptimizerConfig

_UPDATES = 10
_RISE = 10.0


class DivergenceWatch(Callback):
    """Prints one line if the median loss of ten updates exceeds ten times the highest loss of the first ten."""

    def __init__(self, optimizer: OptimizerConfig) -> None:
        self.optimizer = optimizer
        self.seen, self.first, self.warned = 0, 0.0, False
        self.last: deque[float] = deque(maxlen=_UPDATES)

    def on_step_end(self, step: StepEnd) -> None:
        """Compare the latest losses with the first ones."""
        loss = sum(step.losses.values())
        self.last.append(loss)
        self.seen += 1
        if self.seen <= _UPDATES:
            self.first = max(self.first, loss)
        elif not self.warned and (now := median(self.last)) > _RISE * self.first:
            self.warned = True
            print(
                f"note: the loss has risen from {self.first:.3g} to {now:.3g} by update {step.step}: training "
                "diverges, and the model may stay useless even if the loss falls again; start a new run with a lower "
                f"--optimizer.lr (now {self.optimizer.lr:g}) or more --optimizer.warmup-steps (now "
                f"{self.optimizer.warmup_steps})",
                file=sys.stderr,
                flush=True,
            )
