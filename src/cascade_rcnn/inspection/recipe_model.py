"""The config of the model that a recipe trains: its anchors, image sizes and limits on detections."""

from pathlib import Path

from msgspec.structs import replace

from cascade_rcnn.config import Category, ModelConfig
from cascade_rcnn.hub.table import published
from cascade_rcnn.hub.weights import place
from cascade_rcnn.models.checkpoint import read_config
from cascade_rcnn.models.configure import model_config
from cascade_rcnn.models.fine_tuning import other_anchors
from cascade_rcnn.recipes import Recipe, applied_to_start


def recipe_config(recipe: Recipe, categories: tuple[Category, ...]) -> ModelConfig:
    """Return the config of the model that a recipe trains, without downloading anything.

    If the recipe starts from a published detector that is not in the cache, its `model` and `options` are used instead.
    """
    if recipe.init is None or not _is_here(recipe.init):
        pretrained = recipe.weights_backbone is not None
        return model_config(recipe.model, categories, recipe.options, pretrained=pretrained)
    given = applied_to_start(recipe.options)
    sizes = {name: given[name] for name in ("min_size", "max_size") if name in given}
    config = read_config(recipe.init).with_inference(**sizes)
    anchors = other_anchors(config.rpn.anchors, given.get("anchor_sizes"), given.get("anchor_ratios"))
    return replace(config, rpn=replace(config.rpn, anchors=anchors))


def _is_here(init: str) -> bool:
    return init == "starter" or Path(init).is_file() or (init in published() and place(published()[init]).is_file())
