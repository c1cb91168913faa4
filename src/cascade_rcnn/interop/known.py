"""What a peer's config may say. Every setting is read, has to have a value that converts, or is known not to matter."""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cascade_rcnn.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Known:
    """The settings of one peer. Names are dotted paths; an index into a list of settings is left out."""

    read: Collection[str]
    required: Mapping[str, Collection[Any]]  # what there is no equivalent for: the values that convert
    inert: str  # a pattern of names: training schedules, parts that are left out, what the tensors' shapes tell anyway

    def check(self, settings: Iterable[tuple[str, Any]], where: str, prefix: str = "") -> None:
        """Raises UserError for the first setting that would be lost; None says nothing.

        Errors name a setting with `prefix`, the place that the names count from.
        """
        said = [(name, value) for name, value in settings if value is not None]
        for wanted, allowed in self.required.items():
            for name, value in said:
                if name == wanted and value not in allowed:
                    raise UserError(f"{where}: {prefix}{name} is {value!r}; {' or '.join(map(repr, allowed))} converts")
        lost = [s for s in said if s[0] not in {*self.read, *self.required} and not re.match(self.inert, s[0])]
        for name, value in sorted(lost, key=lambda setting: not setting[0].endswith("type")):  # what it is, then how
            raise UserError(
                f"{where}: {prefix}{name} is {value!r}, which has no equivalent here; where it does not touch what the "
                "model finds, take it out of the file"
            )


NOTHING = Known(read=(), required={}, inert="(?!)")


def leaves(tree: Any, name: str = "") -> Iterable[tuple[str, Any]]:
    """The settings in nested ones, by name: {a: [{b: 1}, {b: 2}]} -> (a.b, 1), (a.b, 2). Tuples become lists."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from leaves(value, f"{name}.{key}" if name else str(key))
    elif isinstance(tree, list | tuple) and any(isinstance(item, dict) for item in tree):
        for item in tree:
            yield from leaves(item, name)
    else:
        yield name, _plain(tree)


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
