"""The table of published detectors in published.json: names, URLs, AP, licences and settings."""

import copy
import re
from functools import cache
from typing import Any, Literal

import msgspec

from cascade_rcnn.assets import PUBLISHED
from cascade_rcnn.interop.convert import Origin

_DIGEST = re.compile(r"[-_]([0-9a-f]{6,8})\.(?:pth|pkl)")  # at the end of a file name, after a date or step


class Publisher(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A publisher, with the location and licence of its files."""

    origin: Origin  # the framework that defines tensor names and layout
    host: str
    page: str  # states AP and licence
    licence: str
    hash: Literal["md5", "sha256"] | None = None  # the algorithm of the digits at the end of file names


class PeerConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A framework's config: one of the table's bases, and changes by dotted path (None removes a setting)."""

    base: str
    changes: dict[str, Any] = {}


class Published(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A published detector."""

    name: str
    publisher: str
    path: str  # on the publisher's host
    backbone: str
    dataset: str
    box_ap: float  # COCO AP in percent, as published
    mask_ap: float | None = None
    megabytes: float | None = None  # size of the file, as stated or computed from the config
    config: PeerConfig | None = None
    tensors: tuple[str, ...] = ()  # if there is no config, tensor names that identify the architecture

    @property
    def source(self) -> Publisher:
        """The publisher of the file."""
        return table().publishers[self.publisher]

    @property
    def url(self) -> str:
        """The URL of the file."""
        return self.source.host + self.path

    @property
    def file(self) -> str:
        """The name of the file."""
        return self.path.rpartition("/")[2]

    @property
    def digest(self) -> tuple[str, str] | None:
        """Hash algorithm and first digits, if they are part of the file name."""
        found = _DIGEST.search(self.file)
        return (self.source.hash, found[1]) if found and self.source.hash else None

    def settings(self) -> dict[str, Any] | None:
        """Return the framework's config, if any: by dotted names for a config.yaml, nested for a config.py."""
        if self.config is None:
            return None
        base = copy.deepcopy(table().bases[self.config.base])
        if not any(isinstance(value, dict) for value in base.values()):
            return {name: value for name, value in (base | self.config.changes).items() if value is not None}
        for path, value in self.config.changes.items():
            _change(base, path.split("."), value)
        return base


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of published.json."""

    conversion: int  # incremented when the conversion changes, to invalidate cached checkpoints
    publishers: dict[str, Publisher]
    bases: dict[str, dict[str, Any]]
    weights: tuple[Published, ...]


@cache
def table() -> Table:
    """Load the table, which is part of the package."""
    return msgspec.json.decode(PUBLISHED.read_bytes(), type=Table)


def published() -> dict[str, Published]:
    """Return the published detectors by name."""
    return {row.name: row for row in table().weights}


def _change(tree: Any, path: list[str], value: Any) -> None:
    """Set the value at a path of keys and indices, or remove it if it is None."""
    *parents, last = path
    for key in parents:
        tree = tree[int(key)] if isinstance(tree, list) else tree[key]
    if isinstance(tree, list):
        tree[int(last)] = value
    elif value is None:
        del tree[last]
    else:
        tree[last] = value
