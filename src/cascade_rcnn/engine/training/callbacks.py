"""Extension points of training: callbacks, and loggers of other tools."""

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
    total_steps: int  # in the whole training
    learning_rate: float
    losses: dict[str, float]  # their sum is what is minimised


@dataclass(frozen=True, kw_only=True)
class EpochEnd:
    """After an epoch, saved and evaluated.

    >>> [field for field in EpochEnd.__dataclass_fields__]
    ['model', 'epoch', 'epochs', 'step', 'metrics', 'output']
    """

    model: Detector  # the model that is evaluated and saved: the averaged one if there is one
    epoch: int  # starting at 1
    epochs: int  # in the whole training
    step: int  # updates done
    metrics: Metrics | None  # None where the epoch was not evaluated
    output: Path


class Callback(Protocol):
    """Called as a training goes on, in its first process. Subclass it and override what you need.

    >>> class Patience(Callback):
    ...     def on_epoch_end(self, epoch: EpochEnd) -> bool:
    ...         return epoch.metrics is not None and epoch.metrics.ap75 > 0.6  # good enough
    """

    def on_step_end(self, step: StepEnd) -> None:
        """After every update."""

    def on_epoch_end(self, epoch: EpochEnd) -> bool | None:
        """After every epoch. True ends the training here, as if it had been its last."""


@dataclass(frozen=True, kw_only=True)
class Hooks:
    """Whom a training tells how it goes."""

    callbacks: Sequence[Callback] = ()
    loggers: Sequence[Logger] = ()

    @contextmanager
    def open(self, settings: dict[str, Any], *, active: bool) -> Iterator[None]:
        """Tell the loggers of the settings, and at the block's end how it went; in the first process only."""
        loggers = self.loggers if active else ()
        for logger in loggers:
            with suppress(NotImplementedError):  # Fabric's CSVLogger has none
                logger.log_hyperparams(settings)
        try:
            yield
        except BaseException:
            for logger in loggers:
                logger.finalize("failed")
            raise
        for logger in loggers:
            logger.finalize("success")

    def step(self, end: StepEnd) -> None:
        """To the callbacks."""
        for callback in self.callbacks:
            callback.on_step_end(end)

    def epoch(self, end: EpochEnd) -> bool:
        """To the callbacks; whether one of them wants it to end."""
        wishes = [callback.on_epoch_end(end) for callback in self.callbacks]
        return any(wishes)
