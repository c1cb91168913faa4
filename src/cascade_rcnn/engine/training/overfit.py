"""A short test before a long training run: can the model overfit a few images?"""

import time
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.utils.data import Subset

from cascade_rcnn.auto.survey import learned, owners_of
from cascade_rcnn.data import Annotations
from cascade_rcnn.data.loader import Batch
from cascade_rcnn.engine.datasets import Given
from cascade_rcnn.engine.training import optim
from cascade_rcnn.engine.training.data import Sources, given_train
from cascade_rcnn.engine.training.state import TrainingState
from cascade_rcnn.engine.training.trial_run import trial_run
from cascade_rcnn.recipes import Recipe
from cascade_rcnn.text import count

_IMAGES = 8
_SECONDS = 20.0
_FEWEST_PASSES = 3  # over the images; with fewer, the test says nothing
_LEARNED = 0.8  # a model that learns brings the loss below this fraction of its first value


@dataclass(frozen=True, kw_only=True)
class OverfitTest:
    """Mean losses of a model's first and last pass over a few images that it was trained on."""

    images: int
    updates: int
    seconds: float
    losses: tuple[float, ...]  # of each pass

    @property
    def passed(self) -> bool | None:
        """Whether the loss fell clearly; None if there was no time to tell."""
        if len(self.losses) < _FEWEST_PASSES:
            return None
        return self.losses[-1] < _LEARNED * self.losses[0]

    def __str__(self) -> str:
        if self.passed is None:
            return f"it can overfit: unknown ({count(self.updates, 'update')} took {self.seconds:.0f} s)"
        seen = f"loss {self.losses[0]:.3g} to {self.losses[-1]:.3g} on {count(self.images, 'image')}"
        how = f"{seen} in {count(self.updates, 'update')}, {self.seconds:.0f} s"
        if self.passed:
            return f"it can overfit: yes ({how})"
        return (
            f"it can overfit: no ({how}), and is unlikely to learn more from more images; check the labels with "
            "`cascade-rcnn look`, or raise --optimizer.lr"
        )


def overfit_test(recipe: Recipe, sources: Sources | None = None, *, shortest: int = 0) -> OverfitTest | None:
    """Train a copy of the model on 8 images for about 20 seconds, without augmentation, warm-up and averaging.

    Returns None without a test if the whole run has fewer updates than `shortest`. The run itself is not affected: it
    starts from its own model and seeds. Raises UserError for a mistake in the recipe or its data, and
    torch.OutOfMemoryError if a batch does not fit into the GPU's memory.
    """
    sources = sources or Sources()
    given = given_train(recipe.data, sources, masks=True, needed=False)
    if recipe.epochs * len(given) // (recipe.batch_size * recipe.accumulate) < shortest:
        return None
    few = Sources(train=_few(given, max(_IMAGES, recipe.batch_size)), classes=sources.classes)
    plain = replace(recipe, data=replace(recipe.data, val=""), augmentation=(), ema=None, epochs=1, accumulate=1)
    with trial_run(plain, few) as state:
        batches = list(state.loader)
        config = replace(recipe.optimizer, warmup_steps=0)
        optim.set_learning_rate(state.optimizer, optim.learning_rate(config, 0, 1, recipe.batch_size))
        state.model.train()
        start, losses, spent = time.perf_counter(), [], 0.0
        while spent < _SECONDS:
            risks = [_update(state, batch) for batch in batches]
            losses.append(sum(risks) / len(risks))
            spent = time.perf_counter() - start
    images = sum(len(images) for images, _ in batches)
    return OverfitTest(images=images, updates=len(losses) * len(batches), seconds=spent, losses=tuple(losses))


def _few(given: Given, number: int) -> Given:
    """Return the first images; of annotations, those that have objects."""
    if not isinstance(given, Annotations):
        return Subset(given, range(min(number, len(given))))  # type: ignore[arg-type]
    rows, _ = learned(given)
    kept = np.zeros(len(given), dtype=bool)
    kept[list(dict.fromkeys(owners_of(given)[rows].tolist()))[:number]] = True
    return given.select(kept)


def _update(state: TrainingState, batch: Batch) -> float:
    loss = torch.stack(list(state.wrapped(*batch).values())).sum()
    state.fabric.backward(loss)
    clip = state.recipe.optimizer.clip_norm
    state.fabric.clip_gradients(state.wrapped, state.optimizer, max_norm=clip, error_if_nonfinite=False)  # type: ignore[arg-type]
    state.optimizer.step()
    state.optimizer.zero_grad()
    return loss.item()
