"""The exception for user errors: one line that says what is wrong, where, and how to fix it."""

import difflib
from collections.abc import Sequence
from typing import Any

_NEAR = 0.7  # similarity out of 1: two letters of seven may differ


class UserError(ValueError):
    """An error that the user can fix. The command line prints its single line without a traceback.

    >>> create_model("cascade_rcnn_resnet5_fpn", 3)
    Traceback (most recent call last):
    cascade_rcnn.errors.UserError: there is no model 'cascade_rcnn_resnet5_fpn'; did you mean ...
    """


class UsageError(UserError):
    """An unknown command or subcommand; exits with code 2, like unknown flags."""


def reason(error: BaseException) -> str:
    """Return the first line of an error's message, or its type if it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


_FULL = ("out of memory", "not enough memory", "can't allocate memory", "ALLOC_FAILED")  # of torch and its libraries


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that the memory of the machine or the GPU is full."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in _FULL)
    )


def nearest(name: Any, known: Sequence[str]) -> str:
    """Return the hint "; did you mean 'x'?" for an abbreviated or misspelt name, or "" if none is close."""
    if not isinstance(name, str):
        return ""
    match = [x for x in known if len(name) > 1 and x.startswith(name)]
    match = match or difflib.get_close_matches(name, known, n=1, cutoff=_NEAR)
    return f"; did you mean '{match[0]}'?" if match else ""
