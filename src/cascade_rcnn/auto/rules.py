"""Rules that choose training settings, with reasons, from the data, the machine and the initial model.

Each rule receives the recipe as changed by the previous rules and by the user, and returns its choices. Rules have no
side effects.
"""

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, fields, replace
from typing import Any, TypeAlias

import numpy as np
import torch

from cascade_rcnn.auto.anchors import ENOUGH, IOU, extents, fitting
from cascade_rcnn.auto.survey import Survey
from cascade_rcnn.config import AnchorConfig, ModelOptions
from cascade_rcnn.config.augmentation import ScaleJitterConfig
from cascade_rcnn.data.batch_sampler import AspectBatchSampler
from cascade_rcnn.recipes import OptimizerConfig, Recipe
from cascade_rcnn.text import count

_SMALL = 16  # pixels, desired size of the smallest boxes in the network's input
_GRAIN = 32  # image sizes are multiples of this
_PASSES = 12  # epochs, unless these are too few or too many updates
_UPDATES = {"cpu": (300, 1500), "gpu": (1500, 20_000)}
_CPU_SIDE, _CPU_BATCH = 480, 4
_PATIENCE = 3  # minimum number of evaluations, as AP is noisy
# A rule of thumb, not measured: maximum short side by GPU memory in GB.
_GPU_SIDES = ((24.0, 1280), (12.0, 1024), (8.0, 800), (0.0, 640))


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The hardware to train on."""

    gpu_memory: float | None = None  # of one GPU, in GB; None: a CPU
    processes: int = 1  # that train together, each with a batch of its own

    def __str__(self) -> str:
        return "a CPU" if self.gpu_memory is None else f"a GPU with {self.gpu_memory:.0f} GB"


@dataclass(frozen=True, kw_only=True)
class Start:
    """The model that training starts from."""

    why: str  # reason for choosing it
    init: str | None  # a checkpoint; None: backbone weights only
    min_size: int | None  # short side of the images in pixels; None: not resized
    max_size: int  # maximum long side in pixels
    anchors: AnchorConfig
    known_as: str  # name of the recipe with the same initial model
    optimizer: OptimizerConfig  # of that recipe
    batch_size: int  # of that recipe


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A chosen setting and the reason for it."""

    name: str  # dotted name of the recipe's field
    value: Any
    why: str

    @property
    def flag(self) -> str:
        """The setting as a command-line flag."""
        values = self.value if isinstance(self.value, tuple) else (self.value,)
        shown = " ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in values)
        return f"--{self.name.replace('_', '-')} {shown}"


Rule: TypeAlias = Callable[[Recipe, Survey, Machine, Start], list[Choice]]


def choose(
    recipe: Recipe, given: Collection[str], data: Survey, machine: Machine, start: Start
) -> tuple[Recipe, list[Choice]]:
    """Apply all rules to the recipe and return it with the choices, in order; settings named in `given` are kept."""
    choices = []
    for rule in RULES:
        for choice in rule(recipe, data, machine, start):
            if choice.name in given:
                choices.append(replace(choice, value=value_of(recipe, choice.name), why="given"))
            else:
                recipe = _with(recipe, choice.name, choice.value)
                choices.append(choice)
    return recipe, choices


def value_of(recipe: Any, name: str) -> Any:
    """Return the value of a setting, given its dotted name."""
    for part in name.split("."):
        recipe = getattr(recipe, part)
    return recipe


def _with(config: Any, name: str, value: Any) -> Any:
    part, _, rest = name.partition(".")
    return replace(config, **{part: _with(getattr(config, part), rest, value) if rest else value})


def _init(recipe: Recipe, data: Survey, machine: Machine, start: Start) -> list[Choice]:
    return [Choice(name="init", value=start.init, why=start.why)]


def _image_sizes(recipe: Recipe, data: Survey, machine: Machine, start: Start) -> list[Choice]:
    """Keep the initial model's image sizes, or enlarge them for small boxes as far as images and machine allow."""
    jitter = next((one for one in recipe.augmentation if isinstance(one, ScaleJitterConfig)), None)
    if jitter is not None:
        side, why = jitter.size, "the size of scale_jitter"
        return [Choice(name=f"options.{name}", value=side, why=why) for name in ("min_size", "max_size")]
    if start.min_size is None:
        return [Choice(name="options.min_size", value=None, why="images are not resized, as in the initial model")]
    side, why = _short_side(data, machine, start.min_size, start.max_size)
    step = _GRAIN // 2
    sizes = (*(step * round(side * part / step) for part in (0.7, 0.85)), side)
    given = recipe.options.min_size
    largest = given if isinstance(given, int) else max(given) if isinstance(given, tuple) else side
    longest = round(largest * start.max_size / start.min_size)
    return [
        Choice(name="options.min_size", value=sizes, why=f"{why}; one of three sizes per batch"),
        Choice(name="options.max_size", value=longest, why="in the same proportion as in the initial model"),
    ]


def _short_side(data: Survey, machine: Machine, usual: int, longest: int) -> tuple[int, str]:
    shapes = data.resized(usual, longest)
    small = float(np.quantile(extents(shapes), 0.05))
    if machine.gpu_memory is None:
        most = _CPU_SIDE
    else:
        most = next(side for memory, side in _GPU_SIDES if machine.gpu_memory >= memory)
    twice = max(_GRAIN, _GRAIN * round(2 * data.short_side / _GRAIN))
    wanted = usual if small >= _SMALL else _GRAIN * math.ceil(usual * _SMALL / small / _GRAIN)
    side = min(wanted, most, twice)
    sizes = f"at {usual}, one box in 20 is smaller than {small:.0f} pixels"
    if side == usual:
        return side, f"as in the initial model; {sizes}"
    if side == wanted:
        return side, f"{sizes}; {_SMALL} is better"
    if side == most:
        return side, f"the maximum for {machine}; {sizes}"
    return side, f"twice the images' {data.short_side:.0f} pixels; more would not add detail"


def _anchors(recipe: Recipe, data: Survey, machine: Machine, start: Start) -> list[Choice]:
    """Replace the initial model's anchors only if they do not fit."""
    levels, options, default = start.anchors.levels, recipe.options, ModelOptions()
    if (options.anchor_sizes, options.anchor_ratios) != (default.anchor_sizes, default.anchor_ratios):
        return []  # the user has set sizes or ratios, which belong together
    if len(levels) > 1 and any(len(level) > 1 for level in levels[:-1]):
        return []  # options cannot specify several sizes per level
    shortest, longest = options.min_size, options.max_size
    last = shortest[-1] if isinstance(shortest, tuple) else shortest
    side = last if isinstance(last, int) else start.min_size
    shapes = data.shapes if side is None else data.resized(side, longest or start.max_size)
    sizes, ratios = tuple(size for level in levels for size in level), start.anchors.ratios
    found = fitting(shapes, sizes, ratios)
    covers = f"{100 * found.share:.0f} % of the boxes have an anchor of IoU {IOU:g}"
    if (found.sizes, found.ratios) == (sizes, ratios):
        enough = "" if found.share >= ENOUGH else ", and no others fit better"
        return [Choice(name="options.anchor_sizes", value=None, why=f"as in the initial model; {covers}{enough}")]
    choices = [Choice(name="options.anchor_sizes", value=found.sizes, why=covers)]
    if found.ratios != ratios:
        same = len(found.ratios) == len(ratios)
        why = "chosen from height / width of the boxes; " + (
            "as many as before, so the RPN keeps its weights"
            if same
            else f"{len(found.ratios)} instead of {len(ratios)}, so the RPN's output layers are reinitialised"
        )
        choices.append(Choice(name="options.anchor_ratios", value=found.ratios, why=why))
    return choices


def _batch(recipe: Recipe, data: Survey, machine: Machine, start: Start) -> list[Choice]:
    """Choose the images of an update; before training, a trial tells how many of them fit into memory at once."""
    batch, why = start.batch_size, f"as in recipe `{start.known_as}`"
    if machine.gpu_memory is None and batch > _CPU_BATCH:
        batch, why = _CPU_BATCH, "a CPU"
    if data.images < batch:
        batch, why = data.images, "the number of images"
    return [Choice(name="batch_size", value=batch, why=why)]


def _optimizer(recipe: Recipe, data: Survey, machine: Machine, start: Start) -> list[Choice]:
    """Take the optimizer settings from the recipe with the same initial model."""
    batch = _images_a_step(recipe, machine)
    rate = start.optimizer.lr * batch / start.optimizer.lr_batch
    why = f"for {start.optimizer.lr_batch} images, as in recipe `{start.known_as}`; {rate:g} for updates of {batch}"
    choices = [Choice(name="optimizer.lr", value=start.optimizer.lr, why=why)]
    for field in fields(OptimizerConfig):
        value = getattr(start.optimizer, field.name)
        if field.name not in ("lr", "warmup_steps") and value != getattr(recipe.optimizer, field.name):
            choices.append(Choice(name=f"optimizer.{field.name}", value=value, why=f"as in `{start.known_as}`"))
    return choices


def _schedule(recipe: Recipe, data: Survey, machine: Machine, start: Start) -> list[Choice]:
    """Choose the number of epochs that keeps the number of updates within bounds."""
    each = _updates_an_epoch(recipe, data, machine)
    low, high = _UPDATES["cpu" if machine.gpu_memory is None else "gpu"]
    epochs = max(1, round(min(max(_PASSES * each, low), high) / each))
    why = f"{count(epochs * each, 'update')} of {count(_images_a_step(recipe, machine), 'image')}"
    why += f"; {low} to {high} on {machine}" if epochs != _PASSES else ""
    return [Choice(name="epochs", value=epochs, why=why)]


def _pace(recipe: Recipe, data: Survey, machine: Machine, start: Start) -> list[Choice]:
    """Choose the settings that depend on the length of the run."""
    updates = recipe.epochs * _updates_an_epoch(recipe, data, machine)
    warmup = min(start.optimizer.warmup_steps, max(1, updates // 10))
    decay = round(min(max(1 - 10 / updates, 0.9), 0.9998), 4)
    return [
        Choice(name="optimizer.warmup_steps", value=warmup, why="at most a tenth of the updates"),
        Choice(name="ema", value=decay, why="averages the weights of about the last tenth of the updates"),
        Choice(name="evaluate_every", value=-(-recipe.epochs // 10), why="at most ten evaluations"),
    ]


def _patience(recipe: Recipe, data: Survey, machine: Machine, start: Start) -> list[Choice]:
    """Choose half of the evaluations, as a late drop of the learning rate may still improve AP."""
    if recipe.evaluate_every == 0:
        return []
    evaluations = math.ceil(recipe.epochs / recipe.evaluate_every)
    half = math.ceil(evaluations / 2)
    length = f"half of the {count(evaluations, 'evaluation')}" if half >= _PATIENCE else f"{_PATIENCE} evaluations"
    return [Choice(name="patience", value=max(_PATIENCE, half), why=f"stop after {length} without a better AP")]


def _images_a_step(recipe: Recipe, machine: Machine) -> int:
    return recipe.batch_size * recipe.accumulate * machine.processes


def _updates_an_epoch(recipe: Recipe, data: Survey, machine: Machine) -> int:
    """Count as training does, where landscape and portrait images do not share a batch and every batch is full."""
    batches = AspectBatchSampler(
        torch.from_numpy(data.sizes),
        batch_size=recipe.batch_size,
        seed=recipe.seed,
        shuffle=True,
        drop_last=True,
        world_size=machine.processes,
        repeats=data.repeats,
    )
    return math.ceil(len(batches) / recipe.accumulate)


RULES: tuple[Rule, ...] = (_init, _image_sizes, _anchors, _batch, _optimizer, _schedule, _pace, _patience)
