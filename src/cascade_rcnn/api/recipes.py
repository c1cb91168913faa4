"""Find recipes by name or file, and the keywords that change their fields."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict, get_type_hints

from cascade_rcnn.config import ModelOptions
from cascade_rcnn.config.augmentation import AugmentationConfig
from cascade_rcnn.errors import UsageError, nearest
from cascade_rcnn.recipes import RECIPES, OptimizerConfig, Recipe, applied_to_start, read_recipe


class RecipeOverrides(TypedDict, total=False):
    """The fields of `Recipe` except `data`. A dict for `options` or `optimizer` changes only the fields in it."""

    model: str
    weights_backbone: str | Path | None
    init: str | Path | None
    options: ModelOptions | Mapping[str, Any]
    augmentation: str | Sequence[str | AugmentationConfig | Mapping[str, Any]]
    optimizer: OptimizerConfig | Mapping[str, Any]
    epochs: int
    batch_size: int
    accumulate: int
    precision: Literal["auto", "fp32", "bf16", "fp16"]
    ema: float | None
    devices: int
    accelerator: Literal["auto", "cpu", "cuda", "mps"]
    workers: int
    evaluate_every: int
    patience: int
    save_every: int
    seed: int
    output: str | Path


def find_recipe(name: str | Path) -> Recipe:
    """Return a recipe by name, or read it from a run's recipe.json.

    Raises UserError for an unknown name, with the closest known one, or an invalid file.

    >>> find_recipe("small").model
    'cascade_rcnn_resnet18_fpn'
    """
    name = str(name)
    if name == "auto":
        raise UsageError("recipe auto depends on the data; cascade_rcnn.auto_recipe(annotations) returns it")
    if name in RECIPES:
        return RECIPES[name]()
    if name.endswith(".json"):
        return read_recipe(Path(name))
    raise UsageError(
        f"there is no recipe '{name}'{nearest(name, list(RECIPES))}; known: {', '.join(RECIPES)}, or a training run's "
        "recipe.json"
    )


def names_of(overrides: Mapping[str, Any]) -> set[str]:
    """Return the dotted names of the given settings; of a config object, of those that differ from the default."""
    names = set()
    for name, value in overrides.items():
        if isinstance(value, Mapping):
            names |= {f"{name}.{part}" for part in names_of(value)}
        elif isinstance(value, ModelOptions | OptimizerConfig):
            parts, default = get_type_hints(type(value)), type(value)()
            names |= {f"{name}.{part}" for part in parts if getattr(value, part) != getattr(default, part)}
        else:
            names.add(name)
    return names


def without_effect(recipe: Recipe, given: Collection[str]) -> list[str]:
    """Return a note on those of the `given` settings that the checkpoint to start from overrides, if any."""
    if recipe.init is None:
        return []
    decided = {"model", "weights_backbone", *(f"options.{name}" for name in get_type_hints(ModelOptions))}
    lost = sorted(decided.intersection(given) - {f"options.{name}" for name in applied_to_start(recipe.options)})
    if not lost:
        return []
    origin = f"no effect, as the model comes from {recipe.init}"
    return [f"{', '.join(lost)}: {origin}; to build a model with these settings, use --init None"]
