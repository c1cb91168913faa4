"""Extension points of training: callbacks and loggers."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from lightning_fabric.loggers.logger import Logger

from cascade_rcnn.evaluation import Metrics
from cascade_rcnn.models.detector import Detector


@dataclass(frozen=True, kw_only=True)
class StepEnd:
    """The state after an update of the weights.

    >>> [field for field in StepEnd.__dataclass_fields__]
    ['model', 'epoch', 'step', 'total_steps', 'learning_rate', 'losses']
    """

    model: Detector  # in training mode
    epoch: int  # starting at 1
    step: int  # updates done
    total_steps: int  # in the whole run
    learning_rate: float
    losses: dict[str, float]  # their sum is minimised


@dataclass(frozen=True, kw_only=True)
class EpochEnd:
    """The state after an epoch that has been saved and evaluated.

    >>> [field for field in EpochEnd.__dataclass_fields__]
    ['model', 'epoch', 'epochs', 'step', 'metrics', 'output']
    """

    model: Detector  # the model that was evaluated and saved: the averaged one if there is one
    epoch: int  # starting at 1
    epochs: int  # in the whole run
    step: int  # updates done
    metrics: Metrics | None  # None if the epoch was not evaluated
    output: Path


class Callback(Protocol):
    """Methods that training calls in its first process. Subclass it and override what you need.

    >>> class Patience(Callback):
    ...     def on_epoch_end(self, epoch: EpochEnd) -> bool:
    ...         return epoch.metrics is not None and epoch.metrics.ap75 > 0.6  # good enough
    """

    def on_step_end(self, step: StepEnd) -> None:
        """Called after every update."""

    def on_epoch_end(self, epoch: EpochEnd) -> bool | None:
        """Called after every epoch. Return True to end training as if this epoch were the last."""


@dataclass(frozen=True, kw_only=True)
class Hooks:
    """The callbacks and loggers of a run."""

    callbacks: Sequence[Callback] = ()
    loggers: Sequence[Logger] = ()

    @contextmanager
    def open(self, settings: dict[str, Any], *, active: bool) -> Iterator[None]:
        """Log the settings on entering the block and finalise the loggers on leaving it, in the first process only."""
        begun: list[Logger] = []
        try:
            for logger in self.loggers if active else ():
                with suppress(NotImplementedError):  # as in Fabric's CSVLogger
                    logger.log_hyperparams(settings)
                begun.append(logger)
            yield
        except BaseException:
            for logger in begun:
                logger.finalize("failed")
            raise
        for logger in begun:
            logger.finalize("success")

    def step(self, end: StepEnd) -> None:
        """Call `on_step_end` of all callbacks."""
        for callback in self.callbacks:
            callback.on_step_end(end)

    def epoch(self, end: EpochEnd) -> list[str]:
        """Call `on_epoch_end` of all callbacks; return the names of those that end training."""
        ends = [(type(callback).__name__, callback.on_epoch_end(end)) for callback in self.callbacks]
        return [name for name, ended in ends if ended]
