"""Matching of the file names in annotations to existing files.

Names may come from other machines: they may be absolute, contain backslashes or percent escapes, differ in case or
Unicode form, or have extra or missing folders.
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

_ROOT = re.compile(r"[A-Za-z]:|file:|https?:")  # drives and schemes


def parts_of(name: str) -> tuple[str, ...]:
    """Split a path of any system into parts, without drive, `.` and `..`, in normalised Unicode form and lower case."""
    parts = re.split(r"[/\\]", name.replace("?d=", "/"))  # ?d=: Label Studio's local files
    kept = [part for part in parts if part not in ("", ".", "..") and not _ROOT.fullmatch(part)]
    return tuple(unicodedata.normalize("NFC", part).casefold() for part in kept)


class _Entry(NamedTuple):
    parts: tuple[str, ...]
    path: Path


class FileIndex:
    """An index of the files below a folder, by the ends of their paths.

    A name matches a file if one is a suffix of the other, or if both end in the same folder and file name. Of several
    matches, the one with the longest common suffix is found.
    """

    def __init__(self, folder: Path, files: Iterable[Path], *, stems: bool = False) -> None:
        """Index `files` below `folder`; with `stems`, by their names without extensions."""
        self._entries: dict[str, list[_Entry]] = {}
        for path in files:
            relative = path.relative_to(folder)
            if parts := parts_of(str(relative.with_suffix("") if stems else relative)):
                self._entries.setdefault(parts[-1], []).append(_Entry(parts, path))

    def find(self, name: str) -> Path | None:
        """Return the file that matches a name, None if there is none. Raises UserError if two match equally well."""
        if (found := self._find(name)) is None and "%" in name:
            return self._find(unquote(name))
        return found

    def _find(self, name: str) -> Path | None:
        parts = parts_of(name)
        entries = self._entries.get(parts[-1]) if parts else None
        if not entries:
            return None
        base = re.split(r"[/\\]", name)[-1]
        scored = [
            (common, entry.path.name == base, entry.path)
            for entry in entries
            if (common := _common(entry.parts, parts)) in (len(entry.parts), len(parts)) or common > 1
        ]
        scored.sort(reverse=True)
        if len(scored) > 1 and scored[0][:2] == scored[1][:2]:
            raise UserError(f"{name}: could be {scored[1][2]} or {scored[0][2]}; include its folder in the name")
        return scored[0][2] if scored else None


def _common(a: Sequence[str], b: Sequence[str]) -> int:
    """Return the number of trailing parts that two names share."""
    count = 0
    for x, y in zip(reversed(a), reversed(b), strict=False):
        if x != y:
            break
        count += 1
    return count


class Located(NamedTuple):
    """The locations of a dataset's images."""

    folder: Path
    names: list[str]  # relative to `folder`, or absolute; unchanged if the file was not found
    notes: list[str]


def locate(names: Sequence[str], folders: Sequence[tuple[Path, int | None]]) -> Located:
    """Find images by name in the folder that contains most of them, and the rest by path suffix in all folders.

    Each folder comes with the depth to which missing names are searched (None: unlimited). Raises UserError for a name
    that matches two files.
    """
    home, absent = folders[0][0], list(range(len(names)))
    places = [os.path.split(name) for name in names]
    for folder, _ in folders:
        others = _absent(folder, places)
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
    notes = [f"{count} of {len(names)} images were found by the end of their path (first: {first})"] if count else []
    return Located(home, found, notes)


def _absent(folder: Path, places: Sequence[tuple[str, str]]) -> list[int]:
    """Return the indices of names, split into place and base, that are not found below a folder.

    Places are listed once, as networks make look-ups slow.
    """
    listings = {place: _listing(folder / place) for place in {place for place, _ in places}}
    return [i for i, (place, base) in enumerate(places) if base not in listings[place]]


def _listing(folder: Path) -> set[str]:
    try:
        return set(os.listdir(folder))  # noqa: PTH208  names are all that is needed
    except (OSError, ValueError):  # missing, too long, or an invalid name
        return set()


def _index(folder: Path, depth: int | None) -> FileIndex:
    try:
        return FileIndex(folder, [path for path in walk(folder, depth) if is_image(path)])
    except UserError:  # an unreadable subfolder; files in it are reported as missing
        return FileIndex(folder, [])


def find_folder(name: str, bases: Sequence[Path]) -> Path | None:
    """Find a file or folder below one of the bases, by its name in a dataset or, failing that, its longest suffix."""
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
