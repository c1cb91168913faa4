"""Types and checks of flags that several commands share."""

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from itertools import pairwise
from typing import Annotated, Any, Literal, TypeAlias, get_type_hints

import tyro
from tyro.constructors import PrimitiveConstructorSpec

from cascade_rcnn.errors import UsageError, UserError

Precision = Literal["fp32", "bf16", "fp16"]
Positional = tyro.conf.Positional
OnlyOn: TypeAlias = tyro.conf.FlagCreatePairsOff[bool]  # a flag without --no-, where that would have no effect


def _resume(words: list[str]) -> bool | Literal["auto"]:
    if words not in ([], ["auto"]):
        raise ValueError(f"expected nothing or 'auto', not '{' '.join(words)}'")
    return "auto" if words else True


# `--resume` fails if there is nothing to resume; `--resume auto` starts a new run in that case.
Resume: TypeAlias = Annotated[
    bool | Literal["auto"],
    PrimitiveConstructorSpec(
        nargs="*",
        metavar="[auto]",
        instance_from_str=_resume,
        is_instance=lambda given: given in (True, False, "auto"),
        str_from_instance=lambda given: ["auto"] if given == "auto" else [],
    ),
]


def words(*known: str) -> PrimitiveConstructorSpec[tuple[str, ...]]:
    """Return how to read a flag that takes any number of these words: it may have been given the images as well."""

    def read(given: list[str]) -> tuple[str, ...]:
        if (wrong := next((word for word in given if word not in known), None)) is not None:
            raise ValueError(f"'{wrong}' is not one of {', '.join(known)}; give images first, before all flags")
        return tuple(given)

    return PrimitiveConstructorSpec(
        nargs="*",
        metavar=f"[{{{','.join(known)}}} [...]]",
        instance_from_str=read,
        is_instance=lambda given: isinstance(given, tuple) and set(given) <= set(known),
        str_from_instance=list,
    )


def call(command: Callable[..., None], prog: str, arguments: Sequence[str], description: str | None = None) -> None:
    """Parse arguments by the signature of a command, and run it. Raises UsageError for `--pictures False`."""
    switches = {flag: pair for pair in _switches(command) for flag in pair}
    for word, after in pairwise([*arguments, ""]):
        flag, equals, _ = word.partition("=")
        pair = switches.get(flag.replace("_", "-"))
        if pair and (equals or after.lower() in ("true", "false")):
            given = word if equals else f"{word} {after}"
            raise UsageError(f"{given}: this flag takes no value; write {' or '.join(pair)}")
    tyro.cli(command, prog=prog, description=description, args=list(arguments))


def _switches(kind: Any, prefix: str = "--") -> Iterator[tuple[str, ...]]:
    """Yield the flags without a value, on and off, of a command and of its recipe, whose fields are flags as well."""
    for name, hint in get_type_hints(kind, include_extras=True).items():
        flag = name.replace("_", "-")
        if hint == OnlyOn:
            yield (f"{prefix}{flag}",)
        elif hint is bool:
            yield f"{prefix}{flag}", f"{prefix}no-{flag}"
        elif is_dataclass(hint):
            yield from _switches(hint, prefix if inspect.isfunction(kind) else f"{prefix}{name}.")


def refuse(command: Callable[..., None], given: Mapping[str, Any], names: Collection[str], context: str) -> None:
    """Raise UserError if one of the flags `names`, which have no effect in this context, differs from its default."""
    defaults = inspect.signature(command).parameters
    wrong = [name for name, value in given.items() if name in names and value != defaults[name].default]
    if wrong:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in wrong)
        raise UserError(f"{flags}: no effect with {context}; leave {'it' if len(wrong) == 1 else 'them'} out")


def check_given(what: str, given: Collection[Any], form: str, **lists: Collection[str]) -> None:
    """Raise UsageError if nothing is given as the positional arguments, which a flag in `lists` may have taken."""
    if not given:
        before = (f"them before --{name}, which takes all words that follow it" for name in lists if lists[name])
        raise UsageError(f"no {what} given; give {next(before, form)}")
