"""Changes of a recipe by name."""

from pathlib import Path

import pytest

from cascade_rcnn import OptimizerConfig, UserError, find_recipe
from cascade_rcnn.config import ModelOptions
from cascade_rcnn.config.augmentation import HorizontalFlipConfig
from cascade_rcnn.recipes import with_changes


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
        ({"epochs": True}, "epochs is True: Expected `int`"),
        ({"augmentation": 3}, "augmentation is 3; give a list"),
        ({"augmentation": [{"type": []}]}, r"augmentation \[\]: Expected `str`"),
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
