"""Construction of the training state from a recipe, for a new or resumed run."""

from collections.abc import Sequence
from dataclasses import fields, replace
from functools import partial
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch.optim.swa_utils import AveragedModel

from cascade_rcnn.auto.anchor_notes import anchor_notes
from cascade_rcnn.config import Category, PreprocessConfig
from cascade_rcnn.data.annotations import Annotations
from cascade_rcnn.data.loader import DetectionLoader, make_loader
from cascade_rcnn.data.repeats import repeat_factors
from cascade_rcnn.engine.training import optim
from cascade_rcnn.engine.training.data import Sources, TrainingData, read_data
from cascade_rcnn.engine.training.fingerprint import check_same, fingerprint
from cascade_rcnn.engine.training.settings import as_json, check_unchanged, to_train_longer
from cascade_rcnn.engine.training.state import TrainingState, read_state
from cascade_rcnn.evaluation.coco import crowding_notes
from cascade_rcnn.files import write_json
from cascade_rcnn.models.architectures import has_masks
from cascade_rcnn.models.checkpoint import read_config
from cascade_rcnn.models.create import create_model
from cascade_rcnn.models.detector import Detector
from cascade_rcnn.models.fine_tuning import start_from
from cascade_rcnn.recipes import Recipe, applied_to_start
from cascade_rcnn.text import count


def prepare(
    recipe: Recipe, fabric: Fabric, *, resume: bool, sources: Sources | None = None
) -> tuple[TrainingState, list[str]]:
    """Return the training state of a new or resumed run, and notes for the user; `claim` the output folder first.

    Raises UserError if the recipe or its data cannot be used, or differs from that of the run to resume.
    """
    output, saved, notes = Path(recipe.output), None, []
    if resume:
        saved, notes = read_state(output)
        check_unchanged(output, as_json(recipe))
    data, model, more = _data_and_model(recipe, sources, shown=fabric.is_global_zero)
    marks = fingerprint(data.train.annotations, None if data.val is None else data.val.annotations)
    if saved is not None and saved["data"] is not None:
        check_same(saved["data"], marks, output)
    groups = optim.parameter_groups(model, recipe.optimizer)
    built = optim.make_optimizer(
        groups, recipe.optimizer, fused=recipe.precision != "fp16" and fabric.device.type != "mps"
    )
    wrapped, optimizer = fabric.setup(model, built)
    averaged = None
    if recipe.ema is not None:
        averaged = AveragedModel(model, multi_avg_fn=optim.moving_average(recipe.ema), use_buffers=True)
    state = TrainingState(
        recipe=recipe,
        fabric=fabric,
        model=model,
        wrapped=wrapped,
        optimizer=optimizer,  # type: ignore[arg-type]
        averaged=averaged,
        loader=_loader(recipe, data, fabric),
        data=data,
        fingerprint=marks,
    )
    torch.manual_seed(recipe.seed + 1 + fabric.global_rank)  # each rank draws different samples
    if saved is not None:
        state.restore(saved)
        if state.position.epoch >= recipe.epochs:
            notes.append(f"{output}: all {recipe.epochs} epochs of this run are done; {to_train_longer(output)}")
    if fabric.is_global_zero:
        write_json(output / "recipe.json", as_json(recipe))
    notes += [*_notes(state), *data.notes, *more, *anchor_notes(data.train.annotations, model.config)]
    return state, notes


def _data_and_model(
    recipe: Recipe, sources: Sources | None, *, shown: bool
) -> tuple[TrainingData, Detector, list[str]]:
    """Read the data and build the model, without masks if the data has none, and return notes about the model."""
    read = partial(read_data, recipe, sources, needed=recipe.init is None, shown=shown)
    expected = _expects_masks(recipe)  # reading masks takes time and memory
    data = read(masks=expected)
    torch.manual_seed(recipe.seed)
    model, notes = _model(recipe, data.train.annotations.categories)
    if model.config.has_masks and not expected:
        data = read(masks=True)
    if model.config.has_masks and data.train.annotations.segmentations is None:
        torch.manual_seed(recipe.seed)
        model, notes = _model(recipe, data.train.annotations.categories, masks=False)
    return data, model, notes


def in_parts(state: TrainingState, batch_size: int) -> TrainingState:
    """Return the state of a new run with `batch_size` images at once, and as many in an update as before."""
    recipe = state.recipe
    parts = recipe.batch_size // batch_size
    recipe = replace(recipe, batch_size=batch_size, accumulate=recipe.accumulate * parts)
    if state.fabric.is_global_zero:
        write_json(state.output / "recipe.json", as_json(recipe))
    return replace(state, recipe=recipe, loader=_loader(recipe, state.data, state.fabric))


def _loader(recipe: Recipe, data: TrainingData, fabric: Fabric) -> DetectionLoader:
    return make_loader(
        data.train,
        batch_size=recipe.batch_size,
        workers=recipe.workers,
        seed=recipe.seed,
        shuffle=True,
        drop_last=True,
        rank=fabric.global_rank,
        world_size=fabric.world_size,
        replace_bad=recipe.data.bad_images == "skip",
        repeats=repeat_factors(data.train.annotations, recipe.data.repeat_rare),
        epochs=recipe.epochs,
    )


def _notes(state: TrainingState) -> list[str]:
    """Return notes on settings that do not fit each other or the data."""
    recipe, val = state.recipe, state.data.val
    notes = optim.rate_notes(recipe.optimizer, state.total_steps, state.images_per_step)
    if (batches := len(state.loader)) < recipe.accumulate:
        less = f"each update uses {count(state.images_per_step, 'image')}"
        notes.append(f"{less}, as an epoch has only {count(batches, 'step')} (--accumulate {recipe.accumulate})")
    notes += _size_notes(state.model.config.preprocess)
    notes += _repeat_notes(state.data.train.annotations, recipe.data.repeat_rare)
    if val is None:  # the note on that is enough: `train auto` chooses a patience for any data
        return notes
    if recipe.evaluate_every == 0 and recipe.patience > 0:
        notes.append("--patience has no effect, because the model is not evaluated")
    return [*notes, *crowding_notes(val.annotations, most=state.model.config.inference.max_detections)]


def _repeat_notes(train: Annotations, threshold: float) -> list[str]:
    """Return a note if no class is rare enough for its images to be repeated."""
    factors = repeat_factors(train, threshold)
    if factors is None or factors.max() > 1:
        return []
    images = train.shown.sum(axis=0)
    rarest = images[images > 0].min() / len(train)
    why = f"as each class is in at least {100 * rarest:.2g} % of the images"
    return [f"--data.repeat-rare {threshold:g} has no effect, {why}; give more than {rarest:.2g}"]


def _size_notes(config: PreprocessConfig) -> list[str]:
    """Return a note if no image reaches the short side that it is to be resized to."""
    if config.min_size is None or max(config.min_size) <= config.max_size:
        return []
    why = f"as --options.max-size {config.max_size} limits the long one"
    return [f"the short side of images does not reach --options.min-size {max(config.min_size)}, {why}"]


def _expects_masks(recipe: Recipe) -> bool:
    """Return whether the model will predict masks; a checkpoint yet to be downloaded is judged by its name."""
    if recipe.init is None:
        return has_masks(recipe.model)
    if recipe.init == "starter" or Path(recipe.init).is_file():
        return read_config(recipe.init).has_masks
    return "mask" in recipe.init.lower()


def _model(recipe: Recipe, categories: tuple[Category, ...], *, masks: bool = True) -> tuple[Detector, list[str]]:
    if recipe.init is None:
        return build_model(recipe, categories), []
    model, kept = start_from(recipe.init, categories, masks=masks, **applied_to_start(recipe.options))
    return model, [f"architecture and weights are those of {recipe.init}; {kept}"]


def build_model(recipe: Recipe, categories: Sequence[Category]) -> Detector:
    """Build the model of a recipe, with pretrained weights of the backbone if the recipe names them."""
    options = {option.name: getattr(recipe.options, option.name) for option in fields(recipe.options)}
    return create_model(recipe.model, categories=categories, weights_backbone=recipe.weights_backbone, **options)
