"""Lists of augmentations as words, configs and JSON, and the short forms of older recipes."""

import msgspec
import pytest

from cascade_rcnn.config.augmentation import (
    ColorConfig,
    HorizontalFlipConfig,
    JPEGConfig,
    MosaicConfig,
    ScaleJitterConfig,
    VerticalFlipConfig,
)
from cascade_rcnn.config.augmentation_lists import KINDS, LISTS, parse, with_short_forms, words
from cascade_rcnn.errors import UserError
from cascade_rcnn.recipes import DataConfig, Recipe


def test_words_configs_and_json_are_the_same_list():
    wanted = (*LISTS["natural"], MosaicConfig(probability=0.3, scale=(0.5, 1.5)), JPEGConfig(quality=(10, 20)))
    said = "natural mosaic:probability=0.3,scale=0.5..1.5 jpeg:quality=10..20"
    assert parse(said) == parse(said.split()) == parse(wanted) == wanted
    assert parse(list(msgspec.to_builtins(wanted))) == wanted
    assert parse(words(wanted)) == wanted
    assert parse("none") == parse([]) == ()
    assert parse("rotate90:probability=.25 mosaic:scale=.5...75") == parse(
        "rotate90:probability=0.25 mosaic:scale=0.5..0.75"
    )
    assert words(()) == ["none"]


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_is_a_word(name):
    (config,) = parse(name)
    assert type(config) is KINDS[name]
    assert words((config,)) == [name]


@pytest.mark.parametrize("name", LISTS)
def test_every_list_is_written_and_read(name):
    assert parse(words(LISTS[name])) == LISTS[name]


@pytest.mark.parametrize(
    ("given", "parts"),
    [
        ("naturel", ("did you mean 'natural'", "mosaic")),
        ("mosaic:probabilty=0.3", ("mosaic", "probabilty", "its settings: probability, scale, until")),
        ("mosaic:0.3", ("'0.3' is not a setting",)),
        ("mosaic:probability=x", ("mosaic",)),
        ("blur:probability=1.5", ("augmentation blur: probability is 1.5; give 0",)),
        ("color:contrast=2..1", ("contrast is 2 to 1", "smaller one first")),
        ([{"type": "mosaik"}], ("mosaik",)),
        ([3], ("augmentation has 3", "`transforms`")),
    ],
)
def test_mistakes_are_one_line(given, parts):
    with pytest.raises(UserError) as caught:
        parse(given)
    text = str(caught.value)
    assert "\n" not in text
    assert text.count("augmentation ") <= 1
    assert [part for part in parts if part not in text] == []


def test_short_forms_replace_add_and_remove():
    flip, vertical = HorizontalFlipConfig(), VerticalFlipConfig()
    assert with_short_forms((vertical, flip), 0.25, None, None) == (vertical, HorizontalFlipConfig(probability=0.25))
    assert with_short_forms((vertical,), 0.5, 0.5, ScaleJitterConfig()) == (
        flip,
        vertical,
        ColorConfig(),
        ScaleJitterConfig(),
    )
    assert with_short_forms((flip, ColorConfig()), 0.0, 0.0, None) == ()
    assert with_short_forms((vertical,), None, None, None) == (vertical,)


def test_an_older_recipe_s_settings_become_a_list():
    old = {"epochs": 3, "data": {"train": "x", "flip": 0.25, "photometric": 0.5, "jitter": [0.5, 2], "jitter_size": 96}}
    recipe = msgspec.convert(old, Recipe)
    assert recipe.augmentation == (
        HorizontalFlipConfig(probability=0.25),
        ColorConfig(),
        ScaleJitterConfig(scale=(0.5, 2), size=96),
    )
    assert recipe.data == DataConfig(train="x")
    assert msgspec.convert(msgspec.to_builtins(recipe), Recipe) == recipe
