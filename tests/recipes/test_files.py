"""Recipes as files and as flags."""

import msgspec
import pytest

from cascade_rcnn.config.augmentation_lists import words
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


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"epoch": 3}, "there is no setting 'epoch'; did you mean 'epochs'?"),
        ({"optimiser": {"lr": 1.0}}, "there is no setting 'optimiser'; did you mean 'optimizer'?"),
        ({"optimizer": {"lrr": 1.0}}, "there is no setting 'optimizer.lrr'; did you mean 'lr'?"),
        ({"data": {"trian": "x"}}, "there is no setting 'data.trian'; did you mean 'train'?"),
        ({"options": {"stage": 3}}, "there is no setting 'options.stage'; did you mean 'stages'?"),
        ({"hello": 1}, "there is no setting 'hello'"),
        ({"images": [], "annotations": [], "categories": []}, "there is no setting 'images'"),
        ({"augmentation": [{"type": "blur", "sigmas": 1}]}, "unknown field `sigmas`"),
        ([], "it holds a list"),
    ],
)
def test_unknown_settings_are_refused(content, message, tmp_path):
    write_json(tmp_path / "rec.json", content)
    with pytest.raises(UserError) as error:
        read_recipe(tmp_path / "rec.json")
    assert message in str(error.value)
    assert str(error.value).startswith(f"{tmp_path / 'rec.json'}: not a training run's recipe.json (")
    assert "\n" not in str(error.value)


def test_the_short_forms_of_older_recipes_and_absent_settings_are_read(tmp_path):
    data = {"train": "a.json", "flip": 0.25, "photometric": 0.75, "jitter": [0.2, 2.0], "jitter_size": 640}
    write_json(tmp_path / "recipe.json", {"epochs": 3, "data": data, "optimizer": {"lr": 1}})
    recipe = read_recipe(tmp_path / "recipe.json")
    assert (recipe.epochs, recipe.optimizer.lr, recipe.optimizer.name) == (3, 1.0, "sgd")
    assert words(recipe.augmentation) == [
        "horizontal_flip:probability=0.25",
        "color:probability=0.75",
        "scale_jitter:scale=0.2..2,size=640",
    ]


@pytest.mark.parametrize("written", ["Infinity", "null"])
def test_no_clipping_is_written_as_json_and_read_as_older_recipes_have_it(tmp_path, written):
    (tmp_path / "recipe.json").write_text(f'{{"optimizer": {{"clip_norm": {written}}}}}')
    assert read_recipe(tmp_path / "recipe.json").optimizer.clip_norm is None


def test_nested_settings_become_dotted_names():
    settings = {"epochs": 2, "optimizer": {"lr": 1, "drops": [0.5]}, "data": {}}
    assert flattened(settings) == {"epochs": 2, "optimizer.lr": 1, "optimizer.drops": [0.5]}
