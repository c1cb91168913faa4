"""Checks of the arguments of public functions: their names, numbers, words, lists and paths; does not import torch."""

import inspect
import math
import reprlib
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import wraps
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar, get_args

from cascade_rcnn.errors import UserError, nearest

F = TypeVar("F", bound=Callable[..., Any])


def known_options(function: F) -> F:
    """Make a function with `**options: Unpack[Options]` refuse names that neither it nor the TypedDict has.

    Python passes on any name, so that a misspelt option would silently have no effect.
    """
    known: list[str] = []
    for name, parameter in inspect.signature(function).parameters.items():
        is_options = parameter.kind is parameter.VAR_KEYWORD
        known += get_args(parameter.annotation)[0].__annotations__ if is_options else [name]
    own = function.__qualname__.removesuffix(".__init__").removesuffix(".__call__")

    @wraps(function)
    def checked(*args: Any, **options: Any) -> Any:
        for name in options:
            if name not in known:
                has = ", ".join(one for one in known if one != "self")
                raise UserError(f"{own} has no option '{name}'{nearest(name, known)}; it has {has}")
        return function(*args, **options)

    return checked  # type: ignore[return-value]


def check_number(name: str, value: Any, low: float, high: float = math.inf, *, whole: bool = False) -> None:
    """Raise UserError unless the value is a finite number, or a `whole` one, from `low` to `high`."""
    is_number = isinstance(value, Integral if whole else Real) and not isinstance(value, bool)
    number: Any = value if is_number else math.nan
    if not (low <= number <= high and number < math.inf):  # written so that NaN fails
        limits = f"{low:.12g} or more" if high == math.inf else f"{low:.12g} to {high:.12g}"
        kind = "" if is_number else "a whole number, " if whole else "a number, "
        raise UserError(f"{name} is {number if is_number else _shown(value)}; give {kind}{limits}")


def check_choice(name: str, value: Any, known: Collection[str]) -> None:
    """Raise UserError unless the value is one of the known words."""
    if not isinstance(value, str) or value not in known:
        raise UserError(f"{name} is {_shown(value)}{nearest(value, list(known))}; give {', '.join(known)}")


def as_list(name: str, value: Any) -> list[Any]:
    """Return the entries of any iterable, none of None. Raises UserError for a string, whose entries are letters."""
    if value is None:
        return []
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise UserError(f"{name} is {_shown(value)}; give a list, such as [{_shown(value)}]")
    return list(value)


def with_tuples(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options for a config, whose sequences are tuples, from those of a user, who may give lists."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}


def as_path(name: str, value: Any) -> Path:
    """Return a path. Raises UserError for anything else, and for "", which pathlib takes for the current folder."""
    if not isinstance(value, str | PathLike) or value == "":
        raise UserError(f"{name} is {_shown(value)}; give a path")
    return Path(value)


def _shown(value: Any) -> str:
    return " ".join(reprlib.repr(value).split())  # of an array, all on one line
