"""How the arguments of commands are read."""

import pytest

from cascade_rcnn.commands.parameters import OnlyOn, call
from cascade_rcnn.errors import UsageError
from cascade_rcnn.recipes import Recipe


@pytest.mark.parametrize(
    ("words", "flags"),
    [
        ("--pictures False", "--pictures or --no-pictures"),
        ("--pictures=no", "--pictures or --no-pictures"),
        ("--no-fit-batch true", "--fit-batch or --no-fit-batch"),
        ("--fit_batch=1", "--fit-batch or --no-fit-batch"),
        ("--options.ensemble FALSE", "--options.ensemble or --options.no-ensemble"),
        ("--agnostic-nms True", "--agnostic-nms"),
    ],
)
def test_a_flag_without_a_value_is_given_none(words, flags):
    def command(
        recipe: Recipe, *, pictures: bool = True, fit_batch: bool = False, agnostic_nms: OnlyOn = False
    ) -> None:
        raise AssertionError

    with pytest.raises(UsageError) as error:
        call(command, "command", [*words.split(), "a.jpg"])
    assert str(error.value) == f"{words}: this flag takes no value; write {flags}"


def test_other_flags_are_read_as_before():
    seen = []

    def command(*, name: str = "", pictures: bool = True) -> None:
        seen.append((name, pictures))

    call(command, "command", ["--no-pictures", "--name", "False"])
    call(command, "command", ["--name=--pictures=True", "--pictures"])
    assert seen == [("False", False), ("--pictures=True", True)]
