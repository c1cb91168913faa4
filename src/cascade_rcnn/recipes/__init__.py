"""Training recipes: one function per recipe, which returns a frozen config; its docstring says what to expect."""

from cascade_rcnn.recipes.changes import with_changes
from cascade_rcnn.recipes.config import APPLIED_TO_START, DataConfig, OptimizerConfig, Recipe
from cascade_rcnn.recipes.files import flattened, read_recipe
from cascade_rcnn.recipes.table import RECIPES

__all__ = [
    "APPLIED_TO_START",
    "RECIPES",
    "DataConfig",
    "OptimizerConfig",
    "Recipe",
    "flattened",
    "read_recipe",
    "with_changes",
]
