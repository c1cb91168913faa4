"""From the names that annotation files give to the files there are.

Names come from other machines: absolute, with backslashes, percent escapes, another Unicode form or case, with folders
that are not here or without those that are.
"""

import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from cascade_rcnn.data.image_files import is_image, walk
from cascade_rcnn.errors import UserError


def parts_of(name: str) -> tuple[str, ...]:
    """The parts of a path of any machine: no drive, no `.` and `..`, in one Unicode form and case."""
    parts = re.split(r"[/\\]", name.replace("?d=", "/"))  # ?d=: Label Studio's local files
    kept = [
        part for part in parts if part not in ("", ".", "..") and not re.fullmatch(r"[A-Za-z]:|file:|https?:", part)
    ]
    return tuple(unicodedata.normalize("NFC", part).casefold() for part in kept)


class _Entry(NamedTuple):
    parts: tuple[str, ...]
    path: Path


class FileIndex:
    """Files below a folder, found by the ends of names: whole names where they fit, else all that both sides have.

    A name fits a file if one of the two ends with the whole of the other, or if both end in the same folder and file.
    """

    def __init__(self, folder: Path, files: Iterable[Path], *, stems: bool = False) -> None:
        """With `stems` names and files are compared without their suffixes."""
        self._entries: dict[str, list[_Entry]] = {}
        for path in files:
            relative = path.relative_to(folder)
            if parts := parts_of(str(relative.with_suffix("") if stems else relative)):
                self._entries.setdefault(parts[-1], []).append(_Entry(parts, path))

    def find(self, name: str) -> Path | None:
        """The file of this name. Raises UserError if two fit alike."""
        if (found := self._find(name)) is None and "%" in name:
            return self._find(unquote(name))
        return found

    def _find(self, name: str) -> Path | None:
        parts = parts_of(name)
        if not parts:
            return None
        base = re.split(r"[/\\]", name)[-1]
        scored = [
            (common, entry.path.name == base, entry.path)
            for entry in self._entries.get(parts[-1], ())
            if (common := _common(entry.parts, parts)) in (len(entry.parts), len(parts)) or common > 1
        ]
        scored.sort(reverse=True)
        if len(scored) > 1 and scored[0][:2] == scored[1][:2]:
            raise UserError(f"{name}: could be {scored[1][2]} or {scored[0][2]}; name it with its folder")
        return scored[0][2] if scored else None


def _common(a: Sequence[str], b: Sequence[str]) -> int:
    """How many parts two names share at their ends."""
    count = 0
    for x, y in zip(reversed(a), reversed(b), strict=False):
        if x != y:
            break
        count += 1
    return count


class Located(NamedTuple):
    """Where the images of a dataset are."""

    folder: Path
    names: list[str]  # relative to the folder, or absolute; as given where there is no such file
    notes: list[str]


def locate(names: Sequence[str], folders: Sequence[tuple[Path, int | None]]) -> Located:
    """Find images by their names in the folder that has most of them, and elsewhere in all folders by their ends.

    Each folder comes with the depth to which it is searched for names that it has not (None: all the way).
    Raises UserError for names that fit two files.
    """
    home, absent = folders[0][0], list(range(len(names)))
    for folder, _ in folders:
        others = _absent(folder, names)
        if len(others) < len(absent):
            home, absent = folder, others
        if not absent:
            return Located(home, list(names), [])
    indexes = [_index(folder, depth) for folder, depth in folders if folder.is_dir()]
    found, first, count = list(names), None, 0
    for i in absent:
        path = next((path for index in indexes if (path := index.find(names[i])) is not None), None)
        if path is not None:
            found[i] = path.relative_to(home).as_posix() if path.is_relative_to(home) else str(path)
            first, count = first or f"{names[i]!r} is {path}", count + 1
    notes = [f"{count} of {len(names)} images are found by the ends of their names (first: {first})"] if count else []
    return Located(home, found, notes)


def _absent(folder: Path, names: Sequence[str]) -> list[int]:
    """Which names are no files below a folder. Each folder is listed once: networks look up slowly."""
    listings: dict[str, set[str]] = {}
    found = []
    for i, name in enumerate(names):
        place, base = os.path.split(folder / name)
        if place not in listings:
            listings[place] = _listing(place)
        if base not in listings[place]:
            found.append(i)
    return found


def _listing(folder: str) -> set[str]:
    try:
        return set(os.listdir(folder))  # noqa: PTH208  names are all that is needed
    except (OSError, ValueError):  # not there, too long, or no name at all
        return set()


def _index(folder: Path, depth: int | None) -> FileIndex:
    try:
        return FileIndex(folder, [path for path in walk(folder, depth) if is_image(path)])
    except UserError:  # a folder below that is not for us to read; what is missing for that is said as missing
        return FileIndex(folder, [])


def find_folder(name: str, bases: Sequence[Path]) -> Path | None:
    """A file or folder that a dataset names, below one of the bases, else by the longest end of its name there."""
    for base in bases:
        if _exists(base / name):
            return base / name
    parts = [part for part in re.split(r"[/\\]", name) if part not in ("", ".", "..")]
    for start in range(len(parts)):
        for base in bases:
            if _exists(path := base.joinpath(*parts[start:])):
                return path
    return None


def _exists(path: Path) -> bool:
    return os.path.exists(path)  # noqa: PTH110  pathlib raises for names that are too long
