"""Arguments that do not fit end in one line; options that are misspelt are never swallowed."""

import ast
import inspect
import math
from pathlib import Path
from typing import Literal, TypedDict, Unpack

import numpy as np
import pytest

import cascade_rcnn
from cascade_rcnn import UserError
from cascade_rcnn.arguments import as_list, as_path, check_choice, check_number, converted, known_options

SOURCE = Path(cascade_rcnn.__file__).parent


class Options(TypedDict, total=False):
    thresholds: dict[str, float]


class Finder:
    @known_options
    def __init__(self, size: int = 3, **options: Unpack[Options]) -> None:
        self.given = size, options

    @known_options
    def find(self, image: str, threshold: float = 0.5, **options: Unpack[Options]) -> tuple[str, float, Options]:
        """Find."""
        return image, threshold, options


def test_known_options_arrive_and_a_signature_is_kept():
    assert Finder().find("a", 0.7, thresholds={"dog": 1}) == ("a", 0.7, {"thresholds": {"dog": 1}})
    assert Finder(size=4).find(image="a", threshold=0.3) == ("a", 0.3, {})
    assert list(inspect.signature(Finder.find).parameters) == ["self", "image", "threshold", "options"]
    assert Finder.find.__doc__ == "Find."


def test_a_misspelt_option_suggests_the_nearest_of_all():
    with pytest.raises(UserError, match=r"Finder\.find has no option 'treshold'; did you mean 'threshold'\?; it has"):
        Finder().find("a", treshold=0.7)  # pyright: ignore[reportCallIssue]
    with pytest.raises(UserError, match=r"^Finder has no option 'colour'; it has size, thresholds$"):
        Finder(colour=3)  # pyright: ignore[reportCallIssue]


def test_every_function_with_typed_options_checks_their_names():
    """But for `load`, whose options `ModelConfig.with_inference` checks."""
    unchecked = []
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.FunctionDef) or node.args.kwarg is None or node.args.kwarg.annotation is None:
                continue
            kind = ast.unparse(node.args.kwarg.annotation)
            marks = {ast.unparse(mark) for mark in node.decorator_list}
            if kind.endswith(("Options]", "Overrides]")) and not marks & {"known_options", "overload"}:
                unchecked.append(node.name)
    assert unchecked == ["load"]


@pytest.mark.parametrize("value", [0, 1, 0.5, np.float32(0.25), np.int64(1)])
def test_numbers_in_range_pass(value):
    check_number("score", value, 0, 1)


@pytest.mark.parametrize(
    ("value", "limits", "message"),
    [
        (math.nan, (0, 1), "score is nan; give 0 to 1"),
        (math.inf, (0,), "score is inf; give a finite number, 0 or more"),
        (-math.inf, (0,), "score is -inf; give"),
        (-1, (0, 2**32 - 1), "score is -1; give 0 to 4294967295"),
        (10**400, (0, 65535), "score is 10*; give 0 to 65535"),
        ("0.5", (0, 1), "score is '0.5'; give a number, 0 to 1"),
        (None, (0,), "score is None; give a number, 0 or more"),
        (np.zeros((20, 20)), (0,), r"score is array\(.*; give a number"),
    ],
)
def test_other_numbers_are_one_line(value, limits, message):
    with pytest.raises(UserError, match=message) as error:
        check_number("score", value, *limits)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", [1.5, 2.0, "2", math.nan])
def test_whole_numbers(value):
    check_number("tiles", 2, 1, whole=True)
    with pytest.raises(UserError, match=r"tiles is .*; give a whole number, 1 or more"):
        check_number("tiles", value, 1, whole=True)


def test_choices():
    check_choice("format", "coco", ["coco", "voc"])
    with pytest.raises(UserError, match=r"format is 'cocoo'; did you mean 'coco'\?; give coco, voc"):
        check_choice("format", "cocoo", ["coco", "voc"])
    with pytest.raises(UserError, match="format is 3; give coco, voc"):
        check_choice("format", 3, ["coco", "voc"])


def test_lists_are_not_words():
    assert (as_list("tta", None), as_list("tta", ("flip",)), as_list("tta", np.ones(1))) == ([], ["flip"], [1.0])
    with pytest.raises(UserError, match=r"tta is 'no'; give a list, such as \['no'\]"):
        as_list("tta", "no")
    with pytest.raises(UserError, match=r"scales is 0\.8; give a list, such as \[0\.8\]"):
        as_list("scales", 0.8)
    with pytest.raises(UserError, match=r"tta is True; give a list$"):
        as_list("tta", True)


@pytest.mark.parametrize("value", [None, [], 3, ""])
def test_paths(value):
    assert as_path("model", "a") == as_path("model", Path("a")) == Path("a")
    with pytest.raises(UserError, match=r"model is .*; give a path"):
        as_path("model", value)


@pytest.mark.parametrize(
    ("value", "hint", "expected"),
    [
        ([1, 2], tuple[int, ...], (1, 2)),
        (np.array([0.5, 0.25]), tuple[float, ...], (0.5, 0.25)),
        ([np.array([1.0, 2.0])], tuple[tuple[float, float], ...], ((1.0, 2.0),)),
        (np.int64(3), int | None, 3),
        (np.float64(0.5), float, 0.5),
        (1, float, 1.0),
        ({np.int64(1): np.str_("a")}, dict[int, str] | list[str], {1: "a"}),
    ],
)
def test_values_of_users_get_the_types_of_options(value, hint, expected):
    found = converted("option", value, hint)
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("value", "hint", "message"),
    [
        (1.5, int | None, "option is 1.5: Expected `int | None`, got `float`"),
        ("big", Literal["small", "large"], "option is 'big': Invalid enum value 'big'; give small, large"),
        (None, bool, "option is None: Expected `bool`, got `None`"),
        (5, tuple[int, ...], "option is 5: Expected `list`, got `int`"),
    ],
)
def test_values_of_other_types_are_one_line(value, hint, message):
    with pytest.raises(UserError) as caught:
        converted("option", value, hint)
    assert str(caught.value) == message
