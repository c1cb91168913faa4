"""Checks of the arguments of public functions: their names, numbers, words, lists and paths; does not import torch."""

import inspect
import math
import reprlib
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import wraps
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import msgspec

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
        if number == high == math.inf:
            kind = "a finite number, "
        else:
            kind = "" if is_number else "a whole number, " if whole else "a number, "
        raise UserError(f"{name} is {number if is_number else shown(value)}; give {kind}{limits}")


def check_choice(name: str, value: Any, known: Collection[str]) -> None:
    """Raise UserError unless the value is one of the known words."""
    if not isinstance(value, str) or value not in known:
        raise UserError(f"{name} is {shown(value)}{nearest(value, list(known))}; give {', '.join(known)}")


def as_list(name: str, value: Any, example: str = "") -> list[Any]:
    """Return the entries of any iterable, none of None.

    Raises UserError for anything else, and for a string, whose entries are letters; by default, the list that it names
    as an example has the value as its entry.
    """
    if value is None:
        return []
    if isinstance(value, str) or not isinstance(value, Iterable):
        example = example or ("" if isinstance(value, bool) else f"[{shown(value)}]")
        raise UserError(f"{name} is {shown(value)}; give a list{example and f', such as {example}'}")
    return list(value)


def typed(options: Mapping[str, Any], kind: type[Any]) -> dict[str, Any]:
    """Return options with the types of the fields of `kind`, where users may give lists, arrays or NumPy's numbers.

    Raises UserError naming an option of another type.
    """
    hints = get_type_hints(kind)
    return {name: converted(name, value, hints[name]) for name, value in options.items()}


def converted(name: str, value: Any, hint: Any) -> Any:
    """Return a value with the type of the hint. Raises UserError if it has another one."""
    try:
        return msgspec.convert(_plain(value), hint)
    except msgspec.ValidationError as error:
        kinds = [leaf for leaf in leaves(hint) if leaf is not type(None)]
        words = f"; give {', '.join(kinds)}" if all(isinstance(leaf, str) for leaf in kinds) else ""
        said = str(error).replace("array", "list").replace("null", "None")
        raise UserError(f"{name} is {shown(value)}: {said}{words}") from None


def _plain(value: Any) -> Any:
    """Return arrays and NumPy's numbers as Python's, and paths as strings."""
    if isinstance(value, list | tuple):
        return tuple(map(_plain, value))
    if isinstance(value, Mapping):
        return {_plain(key): _plain(one) for key, one in value.items()}
    if isinstance(value, Path):
        return str(value)
    return _plain(value.tolist()) if type(value).__module__ == "numpy" else value


def leaves(hint: Any) -> list[Any]:
    """Return the types and words in a hint, such as int and "default" in `tuple[int, ...] | Literal["default"]`."""
    parts = get_args(hint)
    return [leaf for part in parts for leaf in leaves(part)] if parts else [hint]


def as_path(name: str, value: Any) -> Path:
    """Return a path. Raises UserError for anything else, and for "", which pathlib takes for the current folder."""
    if not isinstance(value, str | PathLike) or value == "":
        raise UserError(f"{name} is {shown(value)}; give a path")
    return Path(value)


def shown(value: Any) -> str:
    """Return a value for a message, shortened and on one line."""
    return " ".join(reprlib.repr(value).split())  # of an array, all on one line
