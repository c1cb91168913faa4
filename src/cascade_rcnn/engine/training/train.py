"""The training loop, based on Lightning Fabric."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Literal, TypeAlias

from lightning_fabric import Fabric

from cascade_rcnn.engine import environment
from cascade_rcnn.engine.evaluate import detect, evaluation_loader
from cascade_rcnn.engine.interrupt import StopRequest
from cascade_rcnn.engine.training.advice import Advice
from cascade_rcnn.engine.training.batch_fit import fit_batch
from cascade_rcnn.engine.training.callbacks import EpochEnd, Hooks
from cascade_rcnn.engine.training.collectives import gather, share_buffers
from cascade_rcnn.engine.training.data import Sources
from cascade_rcnn.engine.training.epoch import run_epoch, save
from cascade_rcnn.engine.training.failures import explained
from cascade_rcnn.engine.training.launch import claim, launch
from cascade_rcnn.engine.training.metric_log import MetricLog
from cascade_rcnn.engine.training.overfit_test import overfit_test
from cascade_rcnn.engine.training.prepare import in_parts, prepare
from cascade_rcnn.engine.training.settings import as_json, in_parts_as_before
from cascade_rcnn.engine.training.state import TrainingState
from cascade_rcnn.errors import UserError
from cascade_rcnn.evaluation import Metrics
from cascade_rcnn.evaluation.detected import Detected
from cascade_rcnn.evaluation.masks import evaluate_detected
from cascade_rcnn.files import read_json, write_json
from cascade_rcnn.recipes import Recipe
from cascade_rcnn.text import count, printable

_HEADLINE = ("ap", "ap50", "ap60", "ap70", "ap75", "ap80", "ap90", "ap_small", "ap_medium", "ap_large", "ar100")
_OF_MASKS = ("ap", "ap50", "ap75", "ap90")


Overfit: TypeAlias = Literal["never", "if long", "always"]
_LONG = 500  # updates; longer runs are worth a test of 20 seconds


def train(
    recipe: Recipe,
    *,
    resume: bool = False,
    sources: Sources | None = None,
    hooks: Hooks | None = None,
    fit: bool = False,
    overfit: Overfit = "never",
) -> Path:
    """Train as described by a recipe, and return the folder with the checkpoints, logs and results.json.

    `resume` continues the run in `output`; on a CPU, the weights are bit-identical to those of an uninterrupted run.
    `fit` first tries whether a batch fits into memory; if not, each update processes its images in parts.
    `overfit` first tests for up to 20 seconds whether the model can overfit 8 of the images, always or only before runs
    of more than 500 updates, and prints the result; this does not change the run.
    Raises UserError for a mistake in the recipe or its data, and `Interrupted`, with the state saved, if the user stops
    the run.
    """
    hooks = hooks or Hooks()
    fabric = launch(recipe)
    with explained(recipe, fabric):
        resume = fabric.broadcast(resume)  # machines may briefly see a shared folder differently
        with claim(recipe, fabric, resume=resume):
            state = _begin(recipe, fabric, resume=resume, sources=sources, fit=fit, overfit=overfit)
            recipe = state.recipe
            hooks = replace(hooks, callbacks=(*hooks.callbacks, Advice()))
            environment.reset_peak_memory()  # of the trials
            with hooks.open(as_json(recipe), active=fabric.is_global_zero):
                _fit(state, hooks)
            if fabric.is_global_zero:
                _write_results(state)
            fabric.barrier()  # no process continues before the files exist
            return state.output


def _begin(
    recipe: Recipe, fabric: Fabric, *, resume: bool, sources: Sources | None, fit: bool, overfit: Overfit
) -> TrainingState:
    """Prepare the run, print the notes, and make the tests that a new run begins with."""
    if fit and resume:
        recipe = in_parts_as_before(recipe)
    state, notes = prepare(recipe, fabric, resume=resume, sources=sources)
    for note in notes:
        fabric.print(f"note: {printable(note)}", file=sys.stderr)
    if resume:
        return state
    if fit:
        state = _fitted(state)
    if _is_tested(overfit, state.total_steps):
        if fabric.is_global_zero:
            print(overfit_test(state), file=sys.stderr)
        fabric.barrier()
    return state


def _fitted(state: TrainingState) -> TrainingState:
    """Return the state with a batch size that fits into memory, and print it."""
    found = fit_batch(state)
    if found is None:
        return state
    state.fabric.print(found, file=sys.stderr)
    return state if found.fitting == found.wanted else in_parts(state, found.fitting)


def _is_tested(overfit: Overfit, updates: int) -> bool:
    return overfit == "always" or (overfit == "if long" and updates > _LONG)


def _fit(state: TrainingState, hooks: Hooks) -> None:
    """Run the remaining epochs; each is saved before its evaluation, so that a failed evaluation can be repeated."""
    here, active = state.position, state.fabric.is_global_zero
    with (
        MetricLog(state.output, "train", here.step, active=active, loggers=hooks.loggers) as log,
        MetricLog(state.output, "evaluation", here.evaluated, active=active, loggers=hooks.loggers) as scores,
        StopRequest() as stop,
    ):
        metrics = _evaluate(state, scores)
        ended = metrics is not None and _end_epoch(state, hooks, metrics)
        while here.epoch < state.recipe.epochs and not ended and not _is_stale(state):
            run_epoch(state, log, stop, hooks)
            here.epoch, here.batch = here.epoch + 1, 0
            state.save_last()
            save(state, log)
            ended = _end_epoch(state, hooks, _evaluate(state, scores))


def _is_stale(state: TrainingState) -> bool:
    """Return whether AP has not improved for `patience` evaluations, with the same result on every rank."""
    recipe, here = state.recipe, state.position
    if recipe.patience == 0 or here.stale < recipe.patience or here.epoch >= recipe.epochs:
        return False
    state.fabric.print(
        f"stopped after epoch {here.epoch}: no AP above {here.best_ap:.3f} in {count(here.stale, 'evaluation')} "
        "(--patience)",
        file=sys.stderr,
    )
    return True


def _end_epoch(state: TrainingState, hooks: Hooks, metrics: Metrics | None) -> bool:
    """Call the callbacks after an epoch; return whether one of them ends the run, and say so."""
    here, ended = state.position, []
    if state.fabric.is_global_zero:
        end = EpochEnd(
            model=state.evaluated,
            epoch=here.epoch,
            epochs=state.recipe.epochs,
            step=here.step,
            metrics=metrics,
            output=state.output,
        )
        ended = hooks.epoch(end)
    if ended and here.epoch < state.recipe.epochs:
        print(f"stopped after epoch {here.epoch} by on_epoch_end of {', '.join(ended)}", file=sys.stderr)
    return state.fabric.broadcast(bool(ended))


def _evaluate(state: TrainingState, scores: MetricLog) -> Metrics | None:
    """Evaluate and save the model if an epoch has ended whose evaluation is due and not done yet."""
    here = state.position
    due = here.epoch > 0 and here.batch == 0 and _is_due(state.recipe, here.epoch)
    if state.data.val is None or not due or here.evaluated == here.step:
        return None
    metrics, found = _validate(state, scores)
    state.save_best(metrics, found)
    here.evaluated = here.step
    save(state, scores)
    return metrics


def _is_due(recipe: Recipe, epoch: int) -> bool:
    return recipe.evaluate_every > 0 and (epoch % recipe.evaluate_every == 0 or epoch == recipe.epochs)


def _validate(state: TrainingState, scores: MetricLog) -> tuple[Metrics, Detected]:
    """Return COCO metrics on the validation set, identical on every rank, and the detections."""
    fabric, val, recipe = state.fabric, state.data.val, state.recipe
    assert val is not None
    loader = evaluation_loader(
        val, recipe.batch_size, recipe.workers, rank=fabric.global_rank, world_size=fabric.world_size
    )
    share = -(-len(val) // fabric.world_size)
    share_buffers(fabric, state.evaluated)  # they differ between ranks; those of the first are saved
    try:
        found = detect(state.evaluated, loader, share, context=fabric.autocast, shown=fabric.is_global_zero)
    except UserError as error:  # such as an image that cannot be read
        raise UserError(f"{error}; the epoch is saved, and --resume repeats its evaluation") from None
    if fabric.world_size > 1:
        found = Detected.join(gather(fabric, found))
    metrics = evaluate_detected(val.annotations, found)
    headline = {name: getattr(metrics, name) for name in _HEADLINE}
    if metrics.masks is not None:
        headline |= {f"{name}_segm": getattr(metrics.masks, name) for name in _OF_MASKS}
    scores.add(state.position.step, headline)
    shown = ", ".join(f"{name} {value:.3f}" for name, value in headline.items())
    fabric.print(f"epoch {state.position.epoch}: {shown}", file=sys.stderr)
    return metrics, found


def _write_results(state: TrainingState) -> None:
    """Write results.json, with metrics, speed, memory and environment."""
    best, here = state.output / "best.json", state.position
    results = {
        "model": state.recipe.model,
        "epochs": here.epoch,
        "updates": here.step,
        "training_images": len(state.data.train),
        "images": here.images,
        "images_per_second": here.images / max(1e-9, here.seconds),
        "training_seconds": here.seconds,
        "peak_memory_mb": environment.peak_memory_mb(),
        "precision": state.fabric.strategy.precision.precision,
        "best": read_json(best) if best.exists() else None,
        "machine": environment.describe(),
    }
    write_json(state.output / "results.json", results)
