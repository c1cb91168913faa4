"""The base of every config, and what a config must not hold: numbers out of range, fields that nothing reads."""

from collections.abc import Iterable
from typing import Any

import msgspec

from cascade_rcnn.errors import UserError

LEAST = 1e-6  # stands for "more than nothing"
MOST = 1e6


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Frozen data with a default for every field; `replace` makes a changed copy."""


def check(config: Any, **limits: tuple[float, float]) -> None:
    """Raises UserError for a field with a number outside its limits (both included), or that is none (NaN)."""
    for name, (low, high) in limits.items():
        for number in _numbers(getattr(config, name)):
            if not low <= number <= high:
                least = "more than 0" if low == LEAST else f"{low:g} or more"
                raise UserError(f"{name}={number:g}: give {least}, at most {high:g}")


def _numbers(value: Any) -> Iterable[float]:
    """Those of a field: one, several, several of several, or none."""
    if isinstance(value, tuple):
        return (number for part in value for number in _numbers(part))
    return () if value is None else (value,)
