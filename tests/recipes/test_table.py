"""Properties of every recipe: its model exists, its settings fit together, and its docstring explains it."""

from dataclasses import FrozenInstanceError

import msgspec
import pytest

from cascade_rcnn.config import Category
from cascade_rcnn.models.architectures import list_models
from cascade_rcnn.models.configure import model_config
from cascade_rcnn.recipes import RECIPES, Recipe

CATEGORIES = (Category(id=1, name="thing"),)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_names_a_model_and_explains_itself(name):
    recipe = RECIPES[name]()
    assert RECIPES[name].__name__ == name
    assert recipe.model in list_models()
    config = model_config(recipe.model, CATEGORIES, recipe.options, pretrained=recipe.weights_backbone is not None)
    assert len(config.stages) == (3 if recipe.model.startswith("cascade") else 1)
    assert len((RECIPES[name].__doc__ or "").split()) > 8


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_frozen_data(name):
    recipe = RECIPES[name]()
    assert RECIPES[name]() == recipe
    assert msgspec.json.decode(msgspec.json.encode(recipe), type=Recipe) == recipe
    with pytest.raises(FrozenInstanceError):
        recipe.epochs = 1  # type: ignore[misc]


@pytest.mark.parametrize("name", RECIPES)
def test_a_schedule_fits_its_training(name):
    recipe = RECIPES[name]()
    assert all(0 < drop < 1 for drop in recipe.optimizer.drops)
    assert list(recipe.optimizer.drops) == sorted(recipe.optimizer.drops)
    assert recipe.evaluate_every <= recipe.epochs
    assert recipe.data.flip is None  # a short form, which recipes move to their list


def test_outputs_do_not_collide():
    outputs = [recipe().output for recipe in RECIPES.values()]
    assert len(set(outputs)) == len(outputs)


@pytest.mark.parametrize(
    ("cascade", "baseline"),
    [
        ("cascade_rcnn_r50", "faster_rcnn_r50"),
        ("paper_cascade_r50", "paper_faster_r50"),
        ("paper_cascade_r101", "paper_faster_r101"),
        ("paper_cascade_vgg", "paper_faster_vgg"),
        ("paper_cascade_rfcn_r50", "paper_rfcn_r50"),
        ("paper_cascade_rfcn_r101", "paper_rfcn_r101"),
        ("small", "small_baseline"),
        ("small_rfcn", "small_rfcn_baseline"),
        ("small_vgg", "small_vgg_baseline"),
    ],
)
def test_a_baseline_differs_from_its_cascade_in_the_model_alone(cascade, baseline):
    one, other = (msgspec.to_builtins(RECIPES[name]()) for name in (cascade, baseline))
    assert {key for key in one if one[key] != other[key]} == {"model", "output"}
    kin = {one["model"].replace("cascade_rcnn", "faster_rcnn"), one["model"].removeprefix("cascade_")}
    assert other["model"] in kin
