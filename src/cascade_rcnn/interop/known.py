"""Check other frameworks' configs: every setting is used, has a convertible value, or is known not to matter."""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cascade_rcnn.errors import UserError
from cascade_rcnn.interop.python_values import Name


@dataclass(frozen=True, kw_only=True)
class Known:
    """The settings of one framework. Names are dotted paths without list indices."""

    read: Collection[str]
    required: Mapping[str, Collection[Any]]  # settings without an equivalent, with the values that can be converted
    inert: str  # a pattern of names: training schedules, parts that are not converted, and what tensor shapes tell
    training: str = "(?!)"  # a pattern of name=value: what only training depends on

    def without_training(self, tree: Any, name: str) -> tuple[Any, list[str]]:
        """Return nested settings without those that only training depends on and that would be lost, and their names.

        An object whose type would be lost is left out as a whole.
        """
        if isinstance(tree, list) and any(isinstance(item, dict) for item in tree):
            parts = [self.without_training(item, name) for item in tree]
            return [part for part, _ in parts], [x for _, lost in parts for x in lost]
        if not isinstance(tree, dict):
            return tree, []
        kept, lost = {}, []
        for key, value in tree.items():
            path = f"{name}.{key}"
            kind = value.get("type") if isinstance(value, dict) else value
            kind_path = f"{path}.type" if isinstance(value, dict) else path
            if self.only_training(kind_path, kind):
                lost.append(kind_path)
            else:
                kept[key], more = self.without_training(value, path)
                lost += more
        return kept, lost

    def only_training(self, name: str, value: Any) -> bool:
        """Return whether only training depends on a setting, and its value would be lost."""
        if value is None or isinstance(value, dict) or not re.match(self.training, f"{name}={value}"):
            return False
        if isinstance(value, list) and any(isinstance(item, dict) for item in value):
            return False
        return value not in self.required[name] if name in self.required else not self._knows(name)

    def _knows(self, name: str) -> bool:
        return name in self.read or name in self.required or re.match(self.inert, name) is not None

    def check(self, settings: Iterable[tuple[str, Any]], where: str, prefix: str = "") -> None:
        """Raise UserError for the first setting that would be lost; None counts as unset.

        `prefix` is prepended to the setting's name in errors.
        """
        said = [(name, value) for name, value in settings if value is not None]
        for wanted, allowed in self.required.items():
            for name, value in said:
                if name == wanted and value not in allowed:
                    options = " or ".join(map(repr, allowed))
                    raise UserError(f"{where}: {prefix}{name} is {value!r}; only {options} can be converted")
        for name, value in said:
            if name in self.read and _is_foreign(value):
                raise UserError(
                    f"{where}: {prefix}{name} is {value}, which is defined elsewhere; write its value there"
                )
        lost = [setting for setting in said if not self._knows(setting[0])]
        lost.sort(key=lambda setting: not setting[0].endswith(("type", "_target_")))  # types before their options
        for name, value in lost:
            raise UserError(
                f"{where}: {prefix}{name} is {value!r}, which has no equivalent here; if it does not affect "
                "detections, remove it from the file"
            )


def about_training(lost: Iterable[str]) -> list[str]:
    """Return a note on settings that only training depends on, if there are any."""
    names = ", ".join(dict.fromkeys(lost))
    return [f"settings that affect only training and have no equivalent are left out: {names}"] if names else []


NOTHING = Known(read=(), required={}, inert="(?!)")


def leaves(tree: Any, name: str = "") -> Iterable[tuple[str, Any]]:
    """Yield nested settings by dotted name: {a: [{b: 1}, {b: 2}]} -> (a.b, 1), (a.b, 2). Tuples become lists."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from leaves(value, f"{name}.{key}" if name else str(key))
    elif isinstance(tree, list | tuple) and any(isinstance(item, dict) for item in tree):
        for item in tree:
            yield from leaves(item, name)
    else:
        yield name, _plain(tree)


def _is_foreign(value: Any) -> bool:
    return any(map(_is_foreign, value)) if isinstance(value, list) else isinstance(value, Name)


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
