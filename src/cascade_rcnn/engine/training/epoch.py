"""One epoch of training."""

import math
import time
from collections.abc import Iterator

import torch
from torch import Tensor

from cascade_rcnn.data.loader import Batch
from cascade_rcnn.engine.interrupt import Interrupted, StopRequest
from cascade_rcnn.engine.progress import ProgressBar
from cascade_rcnn.engine.training import optim
from cascade_rcnn.engine.training.callbacks import Hooks, StepEnd
from cascade_rcnn.engine.training.collectives import any_rank, gather, maximum, mean
from cascade_rcnn.engine.training.metric_log import MetricLog
from cascade_rcnn.engine.training.state import TrainingState
from cascade_rcnn.errors import UserError


def run_epoch(state: TrainingState, log: MetricLog, stop: StopRequest, hooks: Hooks) -> None:
    """Run the rest of the current epoch. Raises `Interrupted`, with everything saved, if the user stops it."""
    recipe, fabric, here = state.recipe, state.fabric, state.position
    state.model.train()
    state.loader.set_epoch(here.epoch, skip_batches=here.batch)
    left = (len(state.loader) - here.batch) * recipe.batch_size * fabric.world_size
    losses: dict[str, Tensor] = {}  # of this update, averaged over its batches (and then over the ranks)
    seen: list[int] = []  # ids of its images
    clock = time.monotonic()
    later = (recipe.epochs - here.epoch - 1) * len(state.loader) * recipe.batch_size * fabric.world_size
    title = f"epoch {here.epoch + 1}/{recipe.epochs}"
    with ProgressBar(title, left, shown=fabric.is_global_zero, later=later) as bar:
        for images, targets in _batches(state, log):
            start = here.batch - here.batch % recipe.accumulate  # of this update
            size = min(recipe.accumulate, len(state.loader) - start)  # fewer batches for an epoch's last update
            here.batch += 1
            complete = here.batch == start + size
            with fabric.no_backward_sync(state.wrapped, enabled=not complete):  # type: ignore[arg-type]
                batch_losses = {k: v / size for k, v in state.wrapped(images, targets).items()}
                fabric.backward(torch.stack(list(batch_losses.values())).sum())
            losses = {k: v.detach() + losses.get(k, 0.0) for k, v in batch_losses.items()}
            seen += [int(target["image_id"]) for target in targets]
            if not complete:
                continue
            rate = optim.learning_rate(recipe.optimizer, here.step, state.total_steps, state.images_per_step)
            optim.set_learning_rate(state.optimizer, rate)
            stopped = _update(state, losses, seen, asked=stop.asked)
            here.step, here.images = here.step + 1, here.images + len(seen) * fabric.world_size
            now = time.monotonic()
            here.seconds, clock = here.seconds + now - clock, now
            losses = mean(fabric, losses)
            bar.advance(len(seen) * fabric.world_size, f"loss {_report(log, hooks, state, rate, losses):.3f}")
            losses, seen = {}, []
            if stopped or (recipe.save_every and here.step % recipe.save_every == 0):
                save(state, log)
            if stopped:
                raise Interrupted(
                    f"stopped in epoch {here.epoch + 1} after {here.step} updates, with everything saved in "
                    f"{state.output}; add --resume to continue"
                )


def save(state: TrainingState, log: MetricLog) -> None:
    """Save the state, after the logs it refers to."""
    log.sync()
    state.save()


def _batches(state: TrainingState, log: MetricLog) -> Iterator[Batch]:
    """Yield the loader's batches. A UserError on any rank stops all of them together, after saving the state."""
    batches = iter(state.loader)
    while True:
        batch, error = None, ""
        try:
            batch = next(batches, None)
        except UserError as mistake:
            error = str(mistake)
        errors = gather(state.fabric, error) if any_rank(state.fabric, bool(error)) else []
        if errors:
            if state.position.batch % state.recipe.accumulate == 0:
                save(state, log)
            raise UserError(next(filter(None, errors)))
        if batch is None:
            return
        yield batch


def _update(state: TrainingState, losses: dict[str, Tensor], seen: list[int], *, asked: bool) -> bool:
    """Take an optimizer step; return whether any rank was asked to stop. Raises UserError for non-finite values."""
    norm = state.fabric.clip_gradients(
        state.wrapped,  # type: ignore[arg-type]
        state.optimizer,
        max_norm=optim.clip_norm(state.recipe.optimizer),
        error_if_nonfinite=False,
    )
    finite = torch.stack(list(losses.values())).isfinite().all()
    mine = [] if finite else seen
    if not _may_be_skipped(state):
        finite = finite & torch.as_tensor(norm).isfinite()
    signals = torch.stack([(~finite).float(), torch.full_like(finite, asked, dtype=torch.float32)])
    broken, stopped = (bool(signal) for signal in maximum(state.fabric, signals).tolist())
    if broken:
        raise UserError(_diagnosis(state, losses, mine, seen))
    state.optimizer.step()
    state.optimizer.zero_grad()
    if state.averaged is not None:
        state.averaged.update_parameters(state.model)
    return stopped


def _may_be_skipped(state: TrainingState) -> bool:
    """Return whether an update with gradients that are not finite is skipped, as fp16's gradient scaler does.

    It then lowers its scale. If that is below 1, scaling is not what makes them overflow, and every update would be
    skipped.
    """
    scaler = getattr(state.fabric.strategy.precision, "scaler", None)
    return scaler is not None and scaler.get_scale() >= 1


def _diagnosis(state: TrainingState, losses: dict[str, Tensor], mine: list[int], seen: list[int]) -> str:
    """Describe a non-finite loss with the images of the affected ranks (all, if only the gradient is not finite)."""
    everyone, all_seen = gather(state.fabric, mine), gather(state.fabric, seen)
    names = [
        state.data.train.annotations.name_of(image)
        for one in (everyone if any(everyone) else all_seen)
        for image in one
    ]
    values = ", ".join(f"{name} {value.item():.3g}" for name, value in losses.items())
    return (
        f"the loss or its gradient is not finite at update {state.position.step + 1} ({values}) on images "
        f"{', '.join(names)}; check their annotations, or lower --optimizer.lr; the last good state, if any "
        f"was saved, is in {state.output}"
    )


def _report(log: MetricLog, hooks: Hooks, state: TrainingState, rate: float, losses: dict[str, Tensor]) -> float:
    """Log an update and call the callbacks, in the first process only; return the loss."""
    if not state.fabric.is_global_zero:
        return math.nan
    values = {name: value.item() for name, value in losses.items()}
    here, loss = state.position, sum(values.values())
    speed = here.images / max(1e-9, here.seconds)
    log.add(here.step, {"epoch": here.epoch + 1, "lr": rate, "images_per_s": speed, "loss": loss, **values})
    if hooks.callbacks:
        end = StepEnd(
            model=state.model,
            epoch=here.epoch + 1,
            step=here.step,
            total_steps=state.total_steps,
            learning_rate=rate,
            losses=values,
        )
        hooks.step(end)
        if not state.model.training:  # left so by a callback that has tried the model
            state.model.train()
    return loss
