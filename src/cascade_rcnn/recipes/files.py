"""Recipes as files and as flags."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from cascade_rcnn.errors import UserError
from cascade_rcnn.files import read_json
from cascade_rcnn.recipes.config import Recipe


def read_recipe(path: Path) -> Recipe:
    """Read the recipe.json of a training run. Raises UserError for any other content."""
    try:
        return msgspec.convert(read_json(path), Recipe)
    except msgspec.ValidationError as error:
        raise UserError(f"{path}: not a training run's recipe.json ({error}); give one, or a recipe's name") from None


def flattened(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested settings to command line names: {"optimizer": {"lr": 1}} -> {"optimizer.lr": 1}."""
    flat = {}
    for name, value in settings.items():
        flat |= flattened(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat
