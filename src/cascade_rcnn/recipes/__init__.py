"""Training recipes: one function per recipe returns a frozen config, and its docstring says what to expect."""

from cascade_rcnn.recipes.config import APPLIED_TO_START, DataConfig, OptimizerConfig, Recipe
from cascade_rcnn.recipes.files import flattened, read_recipe
from cascade_rcnn.recipes.table import RECIPES

__all__ = ["APPLIED_TO_START", "RECIPES", "DataConfig", "OptimizerConfig", "Recipe", "flattened", "read_recipe"]
