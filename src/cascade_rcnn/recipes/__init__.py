"""Training recipes: one function per recipe, which returns a frozen config; its docstring says what to expect."""

from cascade_rcnn.recipes.changes import for_new_paths, with_changes
from cascade_rcnn.recipes.config import DataConfig, OptimizerConfig, Recipe, applied_to_start
from cascade_rcnn.recipes.files import flattened, read_recipe
from cascade_rcnn.recipes.table import RECIPES

__all__ = [
    "RECIPES",
    "DataConfig",
    "OptimizerConfig",
    "Recipe",
    "applied_to_start",
    "flattened",
    "for_new_paths",
    "read_recipe",
    "with_changes",
]
