"""Recipes by name; the keywords of `train` are the recipe's fields."""

from typing import get_type_hints

import pytest

from cascade_rcnn import Recipe, UserError, find_recipe
from cascade_rcnn.api.recipes import RecipeOverrides
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
