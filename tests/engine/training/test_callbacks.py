"""Callbacks and loggers: what they receive, and in which order."""

from pathlib import Path
from typing import Any, cast

import pytest
from lightning_fabric.loggers.logger import Logger

from cascade_rcnn.engine.training.callbacks import Callback, EpochEnd, Hooks, StepEnd
from cascade_rcnn.errors import UserError


class Log:
    """A logger that stores everything it receives."""

    def __init__(self, told: list[Any], *, hyperparameters: bool = True) -> None:
        self.told, self.hyperparameters = told, hyperparameters

    def log_hyperparams(self, settings: dict[str, Any]) -> None:
        if not self.hyperparameters:
            raise NotImplementedError
        self.told.append(settings)

    def finalize(self, status: str) -> None:
        self.told.append(status)


def opened(told: list[Any], **options: bool) -> Hooks:
    return Hooks(loggers=[cast(Logger, Log(told, **options))])


def test_loggers_are_told_of_beginning_and_end():
    told: list[Any] = []
    with opened(told).open({"epochs": 1}, active=True):
        told.append("trains")
    assert told == [{"epochs": 1}, "trains", "success"]


def test_of_an_end_before_its_time_too():
    told: list[Any] = []
    with pytest.raises(KeyboardInterrupt), opened(told, hyperparameters=False).open({}, active=True):
        raise KeyboardInterrupt
    assert told == ["failed"]


def test_a_logger_that_cannot_begin_fails_those_before_it():
    class Broken(Log):
        def log_hyperparams(self, settings: dict[str, Any]) -> None:
            raise UserError("no server")

    told: list[Any] = []
    loggers = [cast(Logger, one) for one in (Log(told), Broken(told), Log(told))]
    with pytest.raises(UserError, match="no server"), Hooks(loggers=loggers).open({"epochs": 1}, active=True):
        told.append("trains")
    assert told == [{"epochs": 1}, "failed"]


def test_in_the_first_process_only():
    told: list[Any] = []
    with opened(told).open({}, active=False):
        pass
    assert told == []


def test_every_callback_is_told_even_where_one_wants_to_end():
    told: list[str] = []

    class Wish(Callback):
        def __init__(self, name: str, wish: bool | None) -> None:
            self.name, self.wish = name, wish

        def on_epoch_end(self, epoch: EpochEnd) -> bool | None:
            told.append(self.name)
            return self.wish

    end = EpochEnd(model=cast(Any, None), epoch=1, epochs=2, step=3, metrics=None, output=Path())
    assert Hooks(callbacks=[Wish("a", True), Wish("b", None)]).epoch(end) == ["Wish"]
    assert Hooks(callbacks=[Wish("c", None), Wish("d", False)]).epoch(end) == []
    assert told == ["a", "b", "c", "d"]
    step = StepEnd(model=cast(Any, None), epoch=1, step=1, total_steps=2, learning_rate=0.1, losses={})
    Hooks(callbacks=[Wish("e", None)]).step(step)  # the base class does nothing
    assert Hooks().epoch(end) == []
