"""Advice while a training runs: what its curves say, and what to do about it."""

import sys
from collections.abc import Callable

import numpy as np

from cascade_rcnn.engine.training.callbacks import Callback, EpochEnd, StepEnd

_WINDOW = 50  # updates over which a loss is averaged, at least
_FLAT = 0.97  # the loss of a training that learns falls below this part of what it was at first
_FALL = 0.02  # of AP, more than evaluations scatter


class Advice(Callback):
    """Prints a line, once each, when the loss stays flat, or AP falls while the loss falls.

    >>> advice = Advice()  # `train` has one; `tell` is called with each line
    """

    def __init__(self, tell: Callable[[str], None] | None = None) -> None:
        self.tell = tell or (lambda line: print(f"advice: {line}", file=sys.stderr))
        self.losses: list[float] = []
        self.scores: list[tuple[float, float]] = []  # AP of each evaluation, and the mean loss before it
        self.said: set[str] = set()

    def on_step_end(self, step: StepEnd) -> None:
        """Notice a loss that does not fall: in the first fifth of the training it should have."""
        self.losses.append(sum(step.losses.values()))
        window = max(_WINDOW, step.total_steps // 20)
        if len(self.losses) == 4 * window and np.mean(self.losses[-window:]) > _FLAT * np.mean(self.losses[:window]):
            first, last = np.mean(self.losses[:window]), np.mean(self.losses[-window:])
            self._say(
                f"the loss is flat ({first:.3g} at first, {last:.3g} after {step.step} updates): raise --optimizer.lr, "
                "or check that boxes and classes belong to their images",
            )

    def on_epoch_end(self, epoch: EpochEnd) -> None:
        """Notice AP that falls in two evaluations while the loss falls."""
        if epoch.metrics is None or not self.losses:
            return
        self.scores.append((epoch.metrics.ap, float(np.mean(self.losses[-_WINDOW:]))))
        if len(self.scores) < 3:
            return
        (best, before), (middle, _), (last, now) = max(self.scores[:-2]), *self.scores[-2:]
        if max(middle, last) < best - _FALL and now < before:
            self._say(
                f"AP has fallen from {best:.3f} to {last:.3f} while the loss fell: the training images are learned by "
                "heart; end sooner (--patience), or use more images or augmentation",
            )

    def _say(self, line: str) -> None:
        kind = line.split(" (")[0].split(" from ")[0]
        if kind not in self.said:
            self.said.add(kind)
            self.tell(line)
