"""Values in configs written in Python: settings, foreign objects, and a limit on their number."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LIMIT = 400_000  # values in a config and its bases; the largest published one has 60 000


class Budget:
    """Counts the values computed in all files of a config."""

    def __init__(self) -> None:
        self.left = LIMIT

    def spend(self, number: int) -> None:
        """Count `number` values. Raises ValueError if there are too many."""
        self.left -= number
        if self.left < 0:
            raise ValueError("makes more values than any config needs")


class Tree(dict[Any, Any]):
    """Settings shared by several files of a config, which are copied when changed."""

    def copy(self) -> "Tree":
        """Return a shallow copy."""
        return Tree(self)


@dataclass(frozen=True)
class Foreign:
    """An imported or defined object, represented by its dotted name, or the result of a call to it, by the call."""

    name: str
    call: dict[str, Any] | None = None

    def attribute(self, name: str) -> "Foreign":
        """Return the foreign object that is an attribute of this one."""
        return Foreign(f"{self.name}.{name}" if self.call is None else f"{self.name}().{name}")


class Name(str):
    """The name of a foreign object, in settings."""


def get(owner: Any, key: Any) -> Any:
    """Return the attribute or item of a value with this name or index."""
    if isinstance(owner, Foreign):
        return owner.attribute(str(key))
    if isinstance(owner, dict) and key_of(key) in owner:
        return owner[key]
    if isinstance(owner, list | str) and isinstance(key, int):
        return owner[key]
    raise ValueError(f"uses '{key}', which does not exist")


def tree(value: Any, budget: Budget) -> Any:
    """Copy a value deeply, with its dicts as trees."""
    budget.spend(1)
    if isinstance(value, dict):
        return Tree({key: tree(item, budget) for key, item in value.items()})
    return [tree(item, budget) for item in value] if isinstance(value, list) else value


def merge(changes: Mapping[Any, Any], base: Mapping[Any, Any]) -> Tree:
    """Merge changes into settings, including nested dicts; a dict with `_delete_=True` replaces the old value."""
    merged = Tree(base)
    for key, value in changes.items():
        if isinstance(value, dict):
            below = merged.get(key)
            kept = below if isinstance(below, dict) and not value.get("_delete_") else {}
            merged[key] = merge({k: x for k, x in value.items() if k != "_delete_"}, kept)
        else:
            merged[key] = value
    return merged


def key_of(value: Any) -> Any:
    """Return the value if it is a valid dict key: text or a number."""
    if not isinstance(value, str | int | float | None):
        raise ValueError(f"uses {kind(value)} as a key")
    return value


def kind(value: Any) -> str:
    """Describe a value for an error message; containers, which may be large, only by their type."""
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "a dict"
    return f"'{value.name[:60]}'" if isinstance(value, Foreign) else repr(value)[:60]
