"""The table of published detectors: their names, addresses, AP, terms and settings. The data is published.json."""

import copy
import re
from functools import cache
from typing import Any, Literal

import msgspec

from cascade_rcnn.assets import PUBLISHED
from cascade_rcnn.interop.convert import Origin

_DIGEST = re.compile(r"[-_]([0-9a-f]{6,8})\.(?:pth|pkl)")  # ends a file's name, after a date or a step


class Publisher(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who offers files, where, on what terms."""

    origin: Origin  # whose names and layout the tensors have
    host: str
    page: str  # where the AP and the terms stand
    licence: str
    hash: Literal["md5", "sha256"] | None = None  # the one whose first digits end the files' names


class PeerConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The peer's config: one of the table's bases, and what differs from it by dotted path (None: not there)."""

    base: str
    changes: dict[str, Any] = {}


class Published(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A published detector."""

    name: str
    publisher: str
    path: str  # at the publisher's host
    backbone: str
    dataset: str
    box_ap: float  # COCO's, in percent, as published
    mask_ap: float | None = None
    megabytes: float | None = None  # of the file as stated, or of the tensors that its config makes
    config: PeerConfig | None = None
    tensors: tuple[str, ...] = ()  # without a config: names that tell the architecture

    @property
    def source(self) -> Publisher:
        """Who offers it."""
        return table().publishers[self.publisher]

    @property
    def url(self) -> str:
        """Its address."""
        return self.source.host + self.path

    @property
    def file(self) -> str:
        """The file's name."""
        return self.path.rpartition("/")[2]

    @property
    def digest(self) -> tuple[str, str] | None:
        """The kind of hash and its first digits, where the file's name ends in them."""
        found = _DIGEST.search(self.file)
        return (self.source.hash, found[1]) if found and self.source.hash else None

    def settings(self) -> dict[str, Any] | None:
        """The peer's config: by dotted names for a config.yaml, nested for a config.py; None where there is none."""
        if self.config is None:
            return None
        base = copy.deepcopy(table().bases[self.config.base])
        if not any(isinstance(value, dict) for value in base.values()):
            return {name: value for name, value in (base | self.config.changes).items() if value is not None}
        for path, value in self.config.changes.items():
            _change(base, path.split("."), value)
        return base


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of published.json."""

    conversion: int  # rises when what a conversion makes of a file changes: what was kept is converted anew
    publishers: dict[str, Publisher]
    bases: dict[str, dict[str, Any]]
    weights: tuple[Published, ...]


@cache
def table() -> Table:
    """The table that travels with the package."""
    return msgspec.json.decode(PUBLISHED.read_bytes(), type=Table)


def published() -> dict[str, Published]:
    """The published detectors by name."""
    return {row.name: row for row in table().weights}


def _change(tree: Any, path: list[str], value: Any) -> None:
    """Set, or for None remove, what lies at a path of keys and indices."""
    *parents, last = path
    for key in parents:
        tree = tree[int(key)] if isinstance(tree, list) else tree[key]
    if isinstance(tree, list):
        tree[int(last)] = value
    elif value is None:
        del tree[last]
    else:
        tree[last] = value
