"""The base class of all configs, which rejects unknown fields and numbers out of range."""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, ClassVar, get_type_hints

import msgspec

from cascade_rcnn.arguments import check_number, leaves

LEAST = 1e-6  # stands for "greater than 0"
MOST = 1e6


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Frozen data with a default for every field; `replace` makes a changed copy."""

    limits: ClassVar[Mapping[str, tuple[float, float]]] = {}  # by field: its least and greatest number

    def __post_init__(self) -> None:
        """Raise UserError for a number that is out of range."""
        check(self, **self.limits)


def check(config: Any, **limits: tuple[float, float]) -> None:
    """Raise UserError for a field with a number outside its limits (inclusive), or of another type than the field's."""
    for name, (low, high) in limits.items():
        for number in _numbers(getattr(config, name)):
            check_number(name, number, low, high, whole=name in _whole(type(config)))


@cache
def _whole(kind: type) -> frozenset[str]:
    """Return the fields that hold only whole numbers."""
    return frozenset(name for name, hint in get_type_hints(kind).items() if float not in leaves(hint))


def _numbers(value: Any) -> Iterable[Any]:
    """Yield the numbers in a field: a single one, nested sequences, or none."""
    if isinstance(value, tuple):
        return (number for part in value for number in _numbers(part))
    return () if value is None else (value,)
