"""Checks of a recipe: numbers in their ranges, and the same settings when a run is resumed."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from cascade_rcnn.arguments import check_number
from cascade_rcnn.config.augmentation_lists import parse, words
from cascade_rcnn.errors import UserError
from cascade_rcnn.files import read_json
from cascade_rcnn.recipes import Recipe, flattened, read_recipe

# Settings that may change when resuming; the fingerprint ensures that the data is the same, wherever it is.
_MAY_CHANGE = frozenset(
    {"output", "workers", "evaluate_every", "patience", "save_every"}
    | {f"data.{name}{more}" for name in ("train", "val") for more in ("", "_images", "_split")}
)


def as_json(recipe: Recipe) -> dict[str, Any]:
    """Convert the recipe to the content of recipe.json."""
    return json.loads(json.dumps(msgspec.to_builtins(recipe)))


def check_numbers(recipe: Recipe) -> None:
    """Raise UserError for a number of the recipe that is out of range or NaN."""
    optimizer = recipe.optimizer
    for name in ("epochs", "batch_size", "accumulate", "devices"):
        check_number(name, getattr(recipe, name), 1)
    for name in ("workers", "evaluate_every", "patience", "save_every"):
        check_number(name, getattr(recipe, name), 0)
    check_number("seed", recipe.seed, 0, 2**32 - 1)  # NumPy's; torch has more
    check_number("optimizer.lr_batch", optimizer.lr_batch, 1)
    for name in ("lr", "weight_decay", "warmup_steps"):
        check_number(f"optimizer.{name}", getattr(optimizer, name), 0)
    check_number("optimizer.warmup_factor", optimizer.warmup_factor, 0, 1)
    for drop in optimizer.drops:
        check_number("optimizer.drops", drop, 0, 1)
    check_number("data.repeat_rare", recipe.data.repeat_rare, 0, 1)
    check_number("data.max_megapixels", recipe.data.max_megapixels, 0)
    if not 0 <= optimizer.momentum < 1:  # with 1, steps would grow without bound
        raise UserError(f"optimizer.momentum is {optimizer.momentum}; give 0 or more and less than 1, such as 0.9")
    if not 0 < optimizer.layer_decay <= 1:
        raise UserError(
            f"optimizer.layer_decay is {optimizer.layer_decay}; give a fraction, such as 0.7, or 1 for none"
        )
    if optimizer.clip_norm is not None and not optimizer.clip_norm > 0:
        raise UserError(f"optimizer.clip_norm is {optimizer.clip_norm}; give more than 0, or None for no clipping")
    if recipe.ema is not None and not 0 < recipe.ema < 1:
        raise UserError(f"ema is {recipe.ema}; give a decay between 0 and 1, such as 0.998, or None")


def in_parts_as_before(recipe: Recipe) -> Recipe:
    """Return the recipe with the batch size of its run, if that was a part of this one's (see `batch_fit`)."""
    path = Path(recipe.output) / "recipe.json"
    before = read_recipe(path) if path.is_file() else recipe
    if before.batch_size * before.accumulate != recipe.batch_size * recipe.accumulate:
        return recipe
    return replace(recipe, batch_size=before.batch_size, accumulate=before.accumulate)


def check_unchanged(output: Path, settings: dict[str, Any]) -> None:
    """Raise UserError naming a setting that differs from that of the run in `output`."""
    if not isinstance(read_json(output / "recipe.json"), dict):
        raise UserError(f"{output / 'recipe.json'}: not a recipe; restore the file that the run wrote")
    before = flattened(as_json(read_recipe(output / "recipe.json")))
    for name, value in flattened(settings).items():
        if name not in _MAY_CHANGE and before.get(name) != value:
            advice = "resume it with the same settings, or start a new run in another --output"
            if name == "epochs":  # the learning rate has followed a schedule over these epochs
                advice = to_train_longer(output)
            was, now = (_shown(name, one) for one in (before.get(name), value))
            raise UserError(f"{output}: this run started with {name} {was}, not {now}; {advice}")


def to_train_longer(output: Path) -> str:
    """Return the advice on training for more epochs than the run in `output` was started with."""
    last = output / "last.safetensors"
    return f"to train longer, start a new run from its result: --init {last} in another --output"


def _shown(name: str, value: Any) -> Any:
    """Return a value as written on the command line."""
    return " ".join(words(parse(value))) if name == "augmentation" else value
