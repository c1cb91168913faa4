"""How fast a training would be on this machine: a few of its updates, timed."""

import time
from collections.abc import Iterator

import torch

from cascade_rcnn.data.loader import Batch
from cascade_rcnn.engine import optim
from cascade_rcnn.engine.run import Run

_WARM_UP, _STEPS = 1, 3  # updates


def seconds_per_update(run: Run) -> float:
    """The mean of three updates after a first, at a learning rate of zero; `run` should be thrown away after."""
    run.model.train()
    optim.set_learning_rate(run.optimizer, 0.0)
    times, batches = [], _endless(run)
    for _ in range(_WARM_UP + _STEPS):
        start = time.perf_counter()
        for _ in range(run.recipe.accumulate):
            images, targets = next(batches)
            run.fabric.backward(torch.stack(list(run.wrapped(images, targets).values())).sum())
        run.optimizer.step()
        run.optimizer.zero_grad()
        times.append(time.perf_counter() - start)
    return sum(times[_WARM_UP:]) / _STEPS


def _endless(run: Run) -> Iterator[Batch]:
    while True:
        yield from run.loader
