"""Recipes as files and as flags."""

import msgspec
import pytest

from cascade_rcnn.errors import UserError
from cascade_rcnn.files import write_json
from cascade_rcnn.recipes import RECIPES, flattened, read_recipe


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_read_as_it_was_written(name, tmp_path):
    recipe = RECIPES[name]()
    write_json(tmp_path / "recipe.json", msgspec.to_builtins(recipe))
    assert read_recipe(tmp_path / "recipe.json") == recipe


def test_another_file_is_refused_in_one_line(tmp_path):
    write_json(tmp_path / "train.json", {"epochs": "many"})
    with pytest.raises(UserError, match=r"train\.json: not a training run's recipe\.json") as error:
        read_recipe(tmp_path / "train.json")
    assert "\n" not in str(error.value)


def test_nested_settings_become_dotted_names():
    settings = {"epochs": 2, "optimizer": {"lr": 1, "drops": [0.5]}, "data": {}}
    assert flattened(settings) == {"epochs": 2, "optimizer.lr": 1, "optimizer.drops": [0.5]}
