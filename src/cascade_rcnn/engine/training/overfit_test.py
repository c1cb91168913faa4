"""A test before a long training run: can the model overfit a few images?

If not, the boxes or the learning rate are wrong, or the initial weights are unsuitable. The test trains a copy of the
model and leaves the run bit-identical.
"""

import math
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from cascade_rcnn.data.loader import Batch, as_batch, readable
from cascade_rcnn.engine.training import optim
from cascade_rcnn.engine.training.fixed_targets import fixed_target_losses
from cascade_rcnn.engine.training.state import TrainingState, random_state, set_random_state
from cascade_rcnn.models.detector import Detector
from cascade_rcnn.text import count

IMAGES, SECONDS = 8, 20.0
_HALVED = 0.5  # a model that overfits brings the loss below this fraction of its first value
_FEW = 20  # updates; with fewer, the test cannot fail
_WARM_UP = 10  # updates


@dataclass(frozen=True, kw_only=True)
class OverfitTest:
    """The result of the test: the mean loss of proposals and classes in the first and the last pass.

    >>> print(OverfitTest(images=8, updates=60, seconds=12.3, first=2.9, last=1.4))
    overfit test: passed (loss 2.9 to 1.4 on 8 images, 60 updates, 12 s)
    """

    images: int
    updates: int
    seconds: float
    first: float
    last: float

    @property
    def passed(self) -> bool | None:
        """Whether the loss has halved; None if there was too little time to tell."""
        if math.isfinite(self.last) and self.last <= _HALVED * self.first:
            return True
        return None if math.isfinite(self.last) and self.updates < _FEW else False

    def __str__(self) -> str:
        seen = f"loss {self.first:.3g} to {self.last:.3g} on {count(self.images, 'image')}"
        seen += f", {count(self.updates, 'update')}, {self.seconds:.0f} s"
        if self.passed is None:
            return f"overfit test: inconclusive, too slow on this machine ({seen})"
        if self.passed:
            return f"overfit test: passed ({seen})"
        rises = not self.last <= self.first  # or is not finite
        advice = "lower --optimizer.lr" if rises else "raise --optimizer.lr, or start from stronger weights (--init)"
        return f"overfit test: failed ({seen}); check boxes and classes with `cascade-rcnn look`, or {advice}"


def overfit_test(state: TrainingState, *, seconds: float = SECONDS) -> OverfitTest:
    """Train a copy of the model on up to 8 images until their loss has halved, or for `seconds`.

    It trains like the run itself, but without augmentation, and with a constant learning rate after ten updates.
    """
    random = random_state()
    try:
        torch.manual_seed(state.recipe.seed)
        return _learn(state, state.copy_of_model(), _batches(state), time.monotonic() + seconds)
    finally:
        set_random_state(random)


def _batches(state: TrainingState) -> list[Batch]:
    """Return up to 8 readable images with boxes, spread over the training set, in batches."""
    dataset = state.data.train.with_transforms(None)
    filled = np.flatnonzero(dataset.annotations.first.diff().numpy())
    places = np.linspace(0, len(filled) - 1, min(IMAGES, len(filled))).round().astype(int)
    samples, size = list(readable(dataset, filled[places].tolist())), state.recipe.batch_size
    return [as_batch(samples[start : start + size]) for start in range(0, len(samples), size)]


def _learn(state: TrainingState, model: Detector, batches: list[Batch], until: float) -> OverfitTest:
    """Train on the images, pass by pass, and return the mean losses with fixed targets of the first and last pass."""
    config, began, passes, updates = state.recipe.optimizer, time.monotonic(), [], 0
    optimizer = optim.make_optimizer(optim.parameter_groups(model, config), config, fused=False)
    scaler = torch.amp.GradScaler(state.fabric.device.type, enabled=state.recipe.precision == "fp16")
    rate = config.lr * len(batches[0][0]) / config.lr_batch
    while not passes or (time.monotonic() < until and math.isfinite(passes[-1]) and passes[-1] > _HALVED * passes[0]):
        losses = []
        for images, targets in batches:
            optim.set_learning_rate(optimizer, rate * min(1.0, (updates + 1) / _WARM_UP))
            with state.fabric.autocast():
                found = model(images, targets)
                scaler.scale(torch.stack(list(found.values())).sum()).backward()
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), optim.clip_norm(config))
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
            updates += 1
            losses.append(sum(loss.item() for loss in fixed_target_losses(found)))
            if time.monotonic() > until:
                break
        if len(losses) == len(batches) or not passes:  # means over other images are not comparable
            passes.append(float(np.mean(losses)))
    number = sum(len(images) for images, _ in batches)
    return OverfitTest(
        images=number, updates=updates, seconds=time.monotonic() - began, first=passes[0], last=passes[-1]
    )
