"""Training: one visible loop on Lightning Fabric."""

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from cascade_rcnn.data.loader import Batch
from cascade_rcnn.engine import machine, optim, ranks
from cascade_rcnn.engine.evaluate import detect, evaluation_loader
from cascade_rcnn.engine.interrupt import Interrupted, StopRequest
from cascade_rcnn.engine.logs import MetricLog, ProgressBar
from cascade_rcnn.engine.run import Run
from cascade_rcnn.engine.setup import claim, launch, prepare
from cascade_rcnn.errors import UserError
from cascade_rcnn.evaluation import Metrics, evaluate_boxes
from cascade_rcnn.files import read_json, write_json
from cascade_rcnn.recipes import Recipe

T = TypeVar("T")
_HEADLINE = ("ap", "ap50", "ap60", "ap70", "ap75", "ap80", "ap90", "ap_small", "ap_medium", "ap_large", "ar100")


def train(recipe: Recipe, *, resume: bool = False) -> Path:
    """Run a recipe to its end and return the folder with its checkpoints, logs and results.json.

    Raises UserError for a mistake in the recipe or its data, `Interrupted` when stopped by the user (state saved).
    With `resume` it continues where `output` stands; on a CPU the weights equal an uninterrupted run's to the bit.
    """
    fabric = launch(recipe)
    try:
        with claim(Path(recipe.output), fabric, resume=resume):
            run, notes = prepare(recipe, fabric, resume=resume)
            for note in notes:
                fabric.print(f"note: {note}")
            _fit(run)
            if fabric.is_global_zero:
                _write_results(run)
            fabric.barrier()  # no process goes on before the files are there
            return run.output
    except RuntimeError as error:
        if fabric.world_size > 1 and (lost := ranks.lost(error)) is not None:
            raise lost from None
        raise


def _fit(run: Run) -> None:
    """The epochs that are left, each saved before it is evaluated: an evaluation may fail, and is done again."""
    here, active = run.position, run.fabric.is_global_zero
    with (
        MetricLog(run.output, "train", here.step, active=active) as log,
        MetricLog(run.output, "evaluation", here.evaluated, active=active) as scores,
        StopRequest() as stop,
    ):
        _evaluate(run, scores)
        while here.epoch < run.recipe.epochs:
            _epoch(run, log, stop)
            here.epoch, here.batch = here.epoch + 1, 0
            run.save_last()
            _save(run, log)
            _evaluate(run, scores)


def _save(run: Run, log: MetricLog) -> None:
    """The state, after what it counts as done."""
    log.sync()
    run.save_state()


def _evaluate(run: Run, scores: MetricLog) -> None:
    """Measure and keep the model, where an epoch is complete and its evaluation due and not yet done."""
    here = run.position
    due = here.epoch > 0 and here.batch == 0 and _is_due(run.recipe, here.epoch)
    if run.val is None or not due or here.evaluated == here.step:
        return
    run.save_best(_validate(run, scores))
    here.evaluated = here.step
    _save(run, scores)


def _is_due(recipe: Recipe, epoch: int) -> bool:
    return recipe.evaluate_every > 0 and (epoch % recipe.evaluate_every == 0 or epoch == recipe.epochs)


def _epoch(run: Run, log: MetricLog, stop: StopRequest) -> None:
    """The rest of the current epoch: batches in, weights moved."""
    recipe, fabric, here = run.recipe, run.fabric, run.position
    run.model.train()
    run.loader.set_epoch(here.epoch, skip_batches=here.batch)
    left = (len(run.loader) - here.batch) * recipe.batch_size * fabric.world_size
    losses: dict[str, Tensor] = {}  # of this update, averaged over its batches
    seen: list[int] = []  # ids of its images
    clock = time.monotonic()
    later = (recipe.epochs - here.epoch - 1) * len(run.loader) * recipe.batch_size * fabric.world_size
    title = f"epoch {here.epoch + 1}/{recipe.epochs}"
    with ProgressBar(title, left, shown=fabric.is_global_zero, later=later) as bar:
        for images, targets in _batches(run, log):
            here.batch += 1
            complete = here.batch % recipe.accumulate == 0 or here.batch == len(run.loader)
            with fabric.no_backward_sync(run.wrapped, enabled=not complete):  # type: ignore[arg-type]
                batch_losses = {k: v / recipe.accumulate for k, v in run.wrapped(images, targets).items()}
                fabric.backward(torch.stack(list(batch_losses.values())).sum())
            losses = {k: v.detach() + losses.get(k, 0.0) for k, v in batch_losses.items()}
            seen += [int(target["image_id"]) for target in targets]
            if not complete:
                continue
            rate = optim.learning_rate(recipe.optimizer, here.step, run.total_steps, run.images_per_step)
            optim.set_learning_rate(run.optimizer, rate)
            stopped = _update(run, losses, seen, asked=stop.asked)
            here.step, here.images = here.step + 1, here.images + len(seen) * fabric.world_size
            now = time.monotonic()
            here.seconds, clock = here.seconds + now - clock, now
            bar.advance(len(seen) * fabric.world_size, f"loss {_log(log, run, rate, losses):.3f}")
            losses, seen = {}, []
            if stopped or (recipe.save_every and here.step % recipe.save_every == 0):
                _save(run, log)
            if stopped:
                raise Interrupted(
                    f"stopped in epoch {here.epoch + 1} after {here.step} updates; all is saved in {run.output}: "
                    "add --resume to continue"
                )


def _batches(run: Run, log: MetricLog) -> Iterator[Batch]:
    """The loader's batches. A UserError of any rank's data ends all ranks together, with the state saved."""
    batches = iter(run.loader)
    while True:
        batch, error = None, ""
        try:
            batch = next(batches, None)
        except UserError as mistake:
            error = str(mistake)
        errors = _gather(run, error) if _any(run, bool(error)) else []
        if errors:
            if run.position.batch % run.recipe.accumulate == 0:
                _save(run, log)
            raise UserError(next(filter(None, errors)))
        if batch is None:
            return
        yield batch


def _any(run: Run, flag: bool) -> bool:
    """Whether the flag is set on any rank."""
    if run.fabric.world_size == 1:
        return flag
    signal = torch.tensor([float(flag)], device=run.fabric.device)
    dist.all_reduce(signal, op=dist.ReduceOp.MAX)
    return bool(signal.item())


def _gather(run: Run, mine: T) -> list[T]:
    """Every rank's value, by rank."""
    everyone = [mine] * run.fabric.world_size
    if run.fabric.world_size > 1:
        dist.all_gather_object(everyone, mine)
    return everyone


def _update(run: Run, losses: dict[str, Tensor], seen: list[int], *, asked: bool) -> bool:
    """One step of the optimizer. True if the user of any rank asked to stop; UserError if anything is not finite."""
    norm = run.fabric.clip_gradients(
        run.wrapped,  # type: ignore[arg-type]
        run.optimizer,
        max_norm=run.recipe.optimizer.clip_norm,
        error_if_nonfinite=False,
    )
    finite = torch.stack(list(losses.values())).isfinite().all()
    mine = [] if finite else seen
    if run.recipe.precision != "fp16":  # whose scaler skips steps with infinite gradients by itself
        finite = finite & torch.as_tensor(norm).isfinite()
    signals = torch.stack([(~finite).float(), torch.full_like(finite, asked, dtype=torch.float32)])
    if run.fabric.world_size > 1:
        dist.all_reduce(signals, op=dist.ReduceOp.MAX)
    broken, stopped = (bool(signal) for signal in signals.tolist())
    if broken:
        raise UserError(_diagnosis(run, losses, mine, seen))
    run.optimizer.step()
    run.optimizer.zero_grad()
    if run.averaged is not None:
        run.averaged.update_parameters(run.model)
    return stopped


def _diagnosis(run: Run, losses: dict[str, Tensor], mine: list[int], seen: list[int]) -> str:
    """One line about a loss that is not finite: the images of the ranks that had it (all, if only the gradient is)."""
    everyone, all_seen = _gather(run, mine), _gather(run, seen)
    names = [run.train_set.name_of(image) for one in (everyone if any(everyone) else all_seen) for image in one]
    values = ", ".join(f"{name} {value.item():.3g}" for name, value in losses.items())
    return (
        f"the loss or its gradient is not finite at update {run.position.step + 1} ({values}) on images "
        f"{', '.join(names)}; look at their annotations, or lower --optimizer.lr; the last good state, if "
        f"an epoch was finished, is in {run.output}"
    )


def _log(log: MetricLog, run: Run, rate: float, losses: dict[str, Tensor]) -> float:
    if not run.fabric.is_global_zero:
        return math.nan
    values = {name: value.item() for name, value in losses.items()}
    here, loss = run.position, sum(values.values())
    speed = here.images / max(1e-9, here.seconds)
    log.add(here.step, {"epoch": here.epoch + 1, "lr": rate, "images_per_s": speed, "loss": loss, **values})
    return loss


def _validate(run: Run, scores: MetricLog) -> Metrics:
    """COCO's figures on the validation set, the same on every rank."""
    fabric, val, recipe = run.fabric, run.val, run.recipe
    assert val is not None
    loader = evaluation_loader(
        val, recipe.batch_size, recipe.workers, rank=fabric.global_rank, world_size=fabric.world_size
    )
    share = -(-len(val) // fabric.world_size)
    if fabric.world_size > 1:  # batch statistics differ between ranks; those of the first are saved
        for buffer in run.evaluated.buffers():
            dist.broadcast(buffer, src=0)
    found = detect(run.evaluated, loader, share, context=fabric.autocast, shown=fabric.is_global_zero)
    if fabric.world_size > 1:
        found = np.concatenate(_gather(run, found))
    metrics = evaluate_boxes(val, found)
    headline = {name: getattr(metrics, name) for name in _HEADLINE}
    scores.add(run.position.step, headline)
    fabric.print(f"epoch {run.position.epoch}: " + ", ".join(f"{k} {v:.3f}" for k, v in headline.items()))
    return metrics


def _write_results(run: Run) -> None:
    """results.json: what was reached, how fast, with how much memory, and where."""
    best, here = run.output / "best.json", run.position
    results = {
        "model": run.recipe.model,
        "epochs": here.epoch,
        "updates": here.step,
        "images_per_second": here.images / max(1e-9, here.seconds),
        "training_seconds": here.seconds,
        "peak_memory_mb": machine.peak_memory_mb(),
        "precision": run.fabric.strategy.precision.precision,
        "best": read_json(best) if best.exists() else None,
        "machine": machine.describe(),
    }
    write_json(run.output / "results.json", results)
