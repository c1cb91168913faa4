"""What a config must not hold: numbers out of range, and fields that nothing reads."""

from collections.abc import Iterable
from typing import Any

from cascade_rcnn.errors import UserError, nearest

LEAST = 1e-6  # stands for "more than nothing"
MOST = 1e6


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


def unknown(given: Any, read: Any, where: str = "") -> str | None:
    """The first field of the JSON value `given` that is not in `read`, what was made of it: its path, and a hint."""
    if isinstance(given, dict) and isinstance(read, dict):
        for name, value in given.items():
            if name not in read:
                return f"'{where}{name}' that is not known{nearest(name, list(read))}"
            if (found := unknown(value, read[name], f"{where}{name}.")) is not None:
                return found
    if isinstance(given, list) and isinstance(read, list | tuple):
        for k, (one, other) in enumerate(zip(given, read, strict=True)):
            if (found := unknown(one, other, f"{where}{k}.")) is not None:
                return found
    return None
