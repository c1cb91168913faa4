"""Recipes by name and with changes; the keywords of `train` are the recipe's fields."""

from pathlib import Path
from typing import get_type_hints

import pytest

from cascade_rcnn import OptimizerConfig, Recipe, UserError, find_recipe
from cascade_rcnn.api.recipes import RecipeOverrides, with_changes
from cascade_rcnn.config import ModelOptions
from cascade_rcnn.config.augmentation import HorizontalFlipConfig
from cascade_rcnn.files import write_json


def test_the_keywords_are_the_fields_of_a_recipe_but_its_data():
    fields = set(get_type_hints(Recipe)) - {"data"}
    assert set(get_type_hints(RecipeOverrides)) == fields


def test_by_name_and_by_file(tmp_path):
    assert find_recipe("small") == find_recipe("small")
    write_json(tmp_path / "recipe.json", {"epochs": 7})
    assert find_recipe(tmp_path / "recipe.json").epochs == 7
    with pytest.raises(UserError, match="there is no recipe 'smal'; did you mean 'small'"):
        find_recipe("smal")


def test_changes_of_fields_parts_and_parts_of_parts():
    small = find_recipe("small")
    changed = with_changes(
        small,
        {
            "epochs": 3,
            "ema": None,
            "output": Path("runs/x"),
            "optimizer": {"lr": 1, "drops": [0.5]},
            "options": ModelOptions(rois=9),
            "data": {"flip": 0.25},
        },
    )
    assert (changed.epochs, changed.ema, changed.output) == (3, None, "runs/x")
    assert changed.optimizer == OptimizerConfig(**{**vars(small.optimizer), "lr": 1.0, "drops": (0.5,)})
    assert changed.options == ModelOptions(rois=9)
    assert changed.augmentation == (HorizontalFlipConfig(probability=0.25),)
    assert changed.batch_size == small.batch_size
    assert with_changes(small, {}) == small


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epoch": 3}, "there is no setting 'epoch'; did you mean 'epochs'"),
        ({"optimizer": {"learning": 3}}, r"there is no setting 'optimizer\.learning'"),
        ({"optimizer": {"warmup_step": 3}}, r"'optimizer\.warmup_step'; did you mean 'warmup_steps'"),
        ({"epochs": "3"}, "epochs is '3': Expected `int`, got `str`"),
        ({"epochs": 2.5}, "epochs is 2.5: Expected `int`"),
        ({"precision": "fp8"}, "precision is 'fp8': Invalid enum value 'fp8'"),
        ({"optimizer": {"lr": None}}, r"optimizer\.lr is None: Expected `float`"),
        ({"optimizer": 3}, "optimizer is 3: "),
        ({"options": {"min_size": "big"}}, r"options\.min_size is 'big'"),
    ],
)
def test_mistakes_are_one_line(changes, message):
    with pytest.raises(UserError, match=message) as error:
        with_changes(find_recipe("small"), changes)
    assert "\n" not in str(error.value)
