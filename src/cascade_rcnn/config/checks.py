"""The base class of all configs, which rejects unknown fields, and a check for numbers out of range."""

from collections.abc import Iterable
from typing import Any

import msgspec

from cascade_rcnn.arguments import check_number

LEAST = 1e-6  # stands for "greater than 0"
MOST = 1e6


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Frozen data with a default for every field; `replace` makes a changed copy."""


def check(config: Any, **limits: tuple[float, float]) -> None:
    """Raise UserError for a field with a number outside its limits (inclusive), or with something else."""
    for name, (low, high) in limits.items():
        for number in _numbers(getattr(config, name)):
            check_number(name, number, low, high)


def _numbers(value: Any) -> Iterable[Any]:
    """Yield the numbers in a field: a single one, nested sequences, or none."""
    if isinstance(value, tuple):
        return (number for part in value for number in _numbers(part))
    return () if value is None else (value,)
