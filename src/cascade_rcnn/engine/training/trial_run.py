"""Trial runs: a few updates of a recipe, to measure the speed of training on this machine."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from cascade_rcnn.data.loader import Batch
from cascade_rcnn.engine.training import optim
from cascade_rcnn.engine.training.launch import launch
from cascade_rcnn.engine.training.prepare import prepare
from cascade_rcnn.engine.training.state import TrainingState
from cascade_rcnn.recipes import Recipe

_WARM_UP, _STEPS = 1, 3  # updates


@contextmanager
def trial_run(recipe: Recipe) -> Iterator[TrainingState]:
    """Yield the initial state of a training run of `recipe`, with its output in a temporary folder."""
    with TemporaryDirectory() as folder:
        trial = replace(recipe, output=str(Path(folder) / "trial"))
        state, _ = prepare(trial, launch(trial), resume=False)
        yield state


def seconds_per_update(state: TrainingState) -> float:
    """Return the mean time of three updates after a warm-up, at a learning rate of 0. Use `state` for nothing else."""
    state.model.train()
    optim.set_learning_rate(state.optimizer, 0.0)
    times, batches = [], _endless(state)
    for _ in range(_WARM_UP + _STEPS):
        _wait(state)
        start = time.perf_counter()
        for _ in range(state.recipe.accumulate):
            images, targets = next(batches)
            state.fabric.backward(torch.stack(list(state.wrapped(images, targets).values())).sum())
        state.optimizer.step()
        state.optimizer.zero_grad()
        _wait(state)
        times.append(time.perf_counter() - start)
    return sum(times[_WARM_UP:]) / _STEPS


def _wait(state: TrainingState) -> None:
    if state.fabric.device.type == "cuda":  # which works while the host goes on
        torch.cuda.synchronize(state.fabric.device)


def _endless(state: TrainingState) -> Iterator[Batch]:
    while True:
        yield from state.loader
