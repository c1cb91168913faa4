"""Find out with the converters which published detectors can be converted, and look up their configs."""

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
import yaml

from cascade_rcnn.errors import UserError, nearest
from cascade_rcnn.hub.table import Published, published
from cascade_rcnn.interop import layout
from cascade_rcnn.interop.convert import PEERS


class Outcome(NamedTuple):
    """Whether a published detector can be converted, and why not."""

    part: Literal["whole", "none"]
    reason: str = ""


def outcome(row: Published) -> Outcome:
    """Determine whether a detector can be converted, from its config or, without one, its tensor names."""
    peer = PEERS[row.source.origin]
    with config_file(row) as config:
        try:
            tensors = {name: torch.empty(0) for name in row.tensors}
            layout.our_names(row.source.origin, tensors, peer.NAMES, peer.IGNORED)
            peer.read_settings(config, {})
        except UserError as error:
            reason = str(error).removeprefix(f"{config}: ").replace(" (0,)", "")  # the shape of the empty tensors
            return Outcome("none", re.split("; |, which has no ", reason)[0])
    return Outcome("whole")


@contextmanager
def config_file(row: Published) -> Iterator[Path | None]:
    """Yield the config as a file in its framework's format; None if the table has no config."""
    settings = row.settings()
    if settings is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        if not any(isinstance(value, dict) for value in settings.values()):
            path, text = Path(folder) / "config.yaml", yaml.safe_dump(settings)
        else:
            path, text = Path(folder) / "config.py", "".join(f"{key} = {value!r}\n" for key, value in settings.items())
        path.write_text(text, encoding="utf-8")
        yield path


def stock(name: str, origin: str) -> Published | None:
    """Find the published detector of this origin that a config is named after, treating - and _ alike; else None."""
    wanted = name.replace("-", "_")
    for row in published().values():
        names = (row.name.replace("-", "_"), row.name.partition("/")[2].replace("-", "_"))
        if wanted in names and row.source.origin == origin and row.config is not None:
            return row
    return None


def stock_settings(name: str, origin: str) -> dict[str, Any] | None:
    """Return the settings of a published detector of this origin by its config's name, or None."""
    row = stock(name, origin)
    return None if row is None else row.settings()


@contextmanager
def found_config(config: str | Path, origin: str) -> Iterator[Path]:
    """Yield a config by its path or, if there is no such file, by the name of a published detector.

    Raises UserError if it is neither.
    """
    if Path(config).exists() or origin == "torchvision":  # which has no configs, only names of weights
        yield Path(config)
        return
    row = stock(str(config), origin)
    if row is None:
        known = [row.name for row in published().values() if row.source.origin == origin and row.config is not None]
        hint = nearest(str(config), known) or "; `cascade-rcnn weights --all` lists the names"
        raise UserError(f"{config}: neither a file nor the name of a published detector of {origin}{hint}")
    with config_file(row) as path:
        assert path is not None
        yield path
