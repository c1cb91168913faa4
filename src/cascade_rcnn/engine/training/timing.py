"""How fast a training would be on this machine: a few of its updates, timed."""

import time
from collections.abc import Iterator

import torch

from cascade_rcnn.data.loader import Batch
from cascade_rcnn.engine.training import optim
from cascade_rcnn.engine.training.state import TrainingState

_WARM_UP, _STEPS = 1, 3  # updates


def seconds_per_update(state: TrainingState) -> float:
    """The mean of three updates after a first, at a learning rate of zero; `state` should be thrown away after."""
    state.model.train()
    optim.set_learning_rate(state.optimizer, 0.0)
    times, batches = [], _endless(state)
    for _ in range(_WARM_UP + _STEPS):
        start = time.perf_counter()
        for _ in range(state.recipe.accumulate):
            images, targets = next(batches)
            state.fabric.backward(torch.stack(list(state.wrapped(images, targets).values())).sum())
        state.optimizer.step()
        state.optimizer.zero_grad()
        times.append(time.perf_counter() - start)
    return sum(times[_WARM_UP:]) / _STEPS


def _endless(state: TrainingState) -> Iterator[Batch]:
    while True:
        yield from state.loader
