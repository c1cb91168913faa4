"""Read recipe files, and flatten recipes to dotted names."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cascade_rcnn.errors import UserError
from cascade_rcnn.files import read_json
from cascade_rcnn.recipes.changes import with_changes
from cascade_rcnn.recipes.config import Recipe


def read_recipe(path: Path) -> Recipe:
    """Read the recipe.json of a training run; fields that it lacks have their default.

    Raises UserError if its content is not a recipe, for example because of an unknown field.
    """
    content = read_json(path)
    try:
        if not isinstance(content, dict):
            raise UserError(f"it holds a {type(content).__name__}, not an object")
        return with_changes(Recipe(), content)
    except UserError as error:
        raise UserError(f"{path}: not a training run's recipe.json ({error}); give one, or a recipe's name") from None


def flattened(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested settings to the names of flags: {"optimizer": {"lr": 1}} -> {"optimizer.lr": 1}."""
    flat = {}
    for name, value in settings.items():
        flat |= flattened(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat
