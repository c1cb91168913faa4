"""Trial runs: a few updates of a recipe, to see how fast it trains on this machine."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from cascade_rcnn.data.loader import Batch
from cascade_rcnn.engine import optim
from cascade_rcnn.engine.run import Run
from cascade_rcnn.engine.setup import launch, prepare
from cascade_rcnn.recipes import Recipe

_WARM_UP, _STEPS = 1, 3  # updates


@contextmanager
def trial_run(recipe: Recipe) -> Iterator[Run]:
    """Yield a run of `recipe` at its start; its output goes to a temporary folder."""
    with TemporaryDirectory() as folder:
        trial = replace(recipe, output=str(Path(folder) / "trial"))
        run, _ = prepare(trial, launch(trial), resume=False)
        yield run


def seconds_per_update(run: Run) -> float:
    """Return the mean time of three updates after a first one, with a learning rate of 0; leaves `run` unusable."""
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
