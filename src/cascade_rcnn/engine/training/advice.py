"""Advice during training, from the course of loss and AP."""

import sys
from collections.abc import Callable

import numpy as np

from cascade_rcnn.engine.training.callbacks import Callback, EpochEnd, StepEnd

_WINDOW = 50  # minimum number of updates over which losses are averaged
_FLAT = 0.97  # a model that learns brings the loss below this fraction of its first value
_FALL = 0.02  # of AP; more than the noise between evaluations


class Advice(Callback):
    """A callback that gives advice, once of each kind, if the loss stays flat, or AP falls although the loss falls.

    >>> advice = Advice()  # `train` adds one; its argument `tell` is called with each line
    """

    def __init__(self, tell: Callable[[str], None] | None = None) -> None:
        self.tell = tell or (lambda line: print(f"advice: {line}", file=sys.stderr))
        self.losses: list[float] = []
        self.scores: list[tuple[float, float]] = []  # AP of each evaluation, and the mean loss before it
        self.said: set[str] = set()

    def on_step_end(self, step: StepEnd) -> None:
        """Check that the loss has fallen within the first fifth of the run."""
        self.losses.append(sum(step.losses.values()))
        window = max(_WINDOW, step.total_steps // 20)
        if len(self.losses) == 4 * window and np.mean(self.losses[-window:]) > _FLAT * np.mean(self.losses[:window]):
            first, last = np.mean(self.losses[:window]), np.mean(self.losses[-window:])
            self._advise(
                f"the loss is flat ({first:.3g} at first, {last:.3g} after {step.step} updates): raise --optimizer.lr, "
                "or check that boxes and classes belong to their images",
            )

    def on_epoch_end(self, epoch: EpochEnd) -> None:
        """Check for overfitting, that is, lower AP in two evaluations although the loss has fallen."""
        if epoch.metrics is None or not self.losses:
            return
        self.scores.append((epoch.metrics.ap, float(np.mean(self.losses[-_WINDOW:]))))
        if len(self.scores) < 3:
            return
        (best, before), (middle, _), (last, now) = max(self.scores[:-2]), *self.scores[-2:]
        if max(middle, last) < best - _FALL and now < before:
            self._advise(
                f"AP has fallen from {best:.3f} to {last:.3f} while the loss fell: the model overfits; stop earlier "
                "(--patience), or use more images or augmentation",
            )

    def _advise(self, line: str) -> None:
        kind = line.split(" (")[0].split(" from ")[0]
        if kind not in self.said:
            self.said.add(kind)
            self.tell(line)
