"""Advice during training, from the course of loss and AP."""

import sys
from collections.abc import Callable
from statistics import median

import numpy as np

from cascade_rcnn.engine.training.callbacks import Callback, EpochEnd, StepEnd
from cascade_rcnn.engine.training.fixed_targets import fixed_target_losses

_WINDOW = 50  # minimum number of updates over which losses are averaged
_FLAT = 0.97  # a model that learns brings the loss below this fraction of its first value
_RISEN = 1.2  # from this multiple on, the loss is not flat, but rises
_EXPLODED, _UPDATES = 10.0, 10  # the median of ten updates, relative to the highest loss of the first ten, of which
# none counts for more than this multiple of the very first: a loss may explode at once
_FALL = 0.02  # of AP; more than the noise between evaluations


class Advice(Callback):
    """A callback that gives advice, once of each kind.

    It does so if the loss explodes or stays flat, or if AP falls although the loss falls.

    >>> advice = Advice()  # `train` adds one; its argument `tell` is called with each line
    """

    def __init__(self, tell: Callable[[str], None] | None = None) -> None:
        self.tell = tell or (lambda line: print(f"advice: {line}", file=sys.stderr, flush=True))
        self.losses: list[float] = []  # sums
        self.fixed: list[float] = []  # sums of those with fixed targets
        self.scores: list[tuple[float, float]] = []  # AP of each evaluation, and the mean loss before it
        self.said: set[str] = set()

    def on_step_end(self, step: StepEnd) -> None:
        """Check that the loss does not explode, and that it has fallen within the first fifth of the run."""
        self.losses.append(sum(step.losses.values()))
        self.fixed.append(sum(fixed_target_losses(step.losses)))
        window = max(_WINDOW, step.total_steps // 20)
        if not self._explodes(step.step) and len(self.fixed) == step.step == 4 * window:  # not in a resumed run
            self._judge(float(np.mean(self.fixed[:window])), float(np.mean(self.fixed[-window:])), step.step)

    def _explodes(self, step: int) -> bool:
        """Return whether the loss has exploded. It often falls again, to that of a model that finds nothing."""
        first = min(max(self.losses[:_UPDATES]), _EXPLODED * self.losses[0])
        now = median(self.losses[-_UPDATES:])
        if len(self.losses) > 2 and now > _EXPLODED * first:
            self._advise(
                f"the loss has exploded (at first up to {first:.3g}, {now:.3g} after {step} updates), and the model "
                "may stay useless even if it falls again: start again with a lower --optimizer.lr or more "
                "--optimizer.warmup-steps"
            )
        return "the loss has exploded" in self.said

    def _judge(self, first: float, last: float, step: int) -> None:
        """Advise if the loss of the RPN and of the first classifier has not fallen."""
        if last > _FLAT * first:
            course, change = ("rises", "lower") if last > _RISEN * first else ("is flat", "raise")
            self._advise(
                f"the loss of proposals and classes {course} ({first:.3g} at first, {last:.3g} after {step} updates): "
                f"{change} --optimizer.lr, or check that boxes and classes belong to their images",
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
