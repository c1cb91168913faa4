"""Matching of the file names in annotations to existing files.

Names may come from other machines: they may be absolute, contain backslashes or percent escapes, differ in case or
Unicode form, end in spaces or a line end, or have extra or missing folders.
"""

import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from cascade_rcnn.data.image_files import is_image, walk
from cascade_rcnn.data.splits import splits_of
from cascade_rcnn.errors import UserError

_ROOT = re.compile(r"[A-Za-z]:|file:|https?:")  # drives and schemes
_QUERY = re.compile(r"(https?://[^?#]*)[?#].*")  # a signature that expires, for example


def parts_of(name: str) -> tuple[str, ...]:
    """Split a path of any system into parts, without drive, `.` and `..`, in normalised Unicode form and lower case."""
    name = _QUERY.sub(r"\1", name.replace("?d=", "/"))  # ?d=: Label Studio's local files
    parts = re.split(r"[/\\]", name)
    kept = [part for part in parts if part not in ("", ".", "..") and not _ROOT.fullmatch(part)]
    return tuple(unicodedata.normalize("NFC", part).casefold() for part in kept)


class _Entry(NamedTuple):
    parts: tuple[str, ...]
    path: Path


class FileIndex:
    """An index of the files below a folder, by the ends of their paths.

    A name matches a file if one is a suffix of the other. The first folders of an absolute name are those of another
    machine, so that it also matches if both end in the same folder and file name. Of several matches, the one with the
    longest common suffix is found; a name that is complete is that file. A file in a folder that is named for another
    split never matches.
    """

    def __init__(self, folder: Path, files: Iterable[Path], *, stems: bool = False, split: str = "") -> None:
        """Index `files` below `folder`; with `stems`, by their names without extensions.

        The words of `split` say which split the names are of, if they do not say so themselves.
        """
        self._splits = splits_of(re.split(r"[\W_]+", split))
        self._entries: dict[str, list[_Entry]] = {}
        for path in files:
            relative = path.relative_to(folder)
            if parts := parts_of(str(relative.with_suffix("") if stems else relative)):
                self._entries.setdefault(parts[-1], []).append(_Entry(parts, path))

    def find(self, name: str) -> Path | None:
        """Return the file that matches a name, None if there is none. Raises UserError if two match equally well."""
        forms = dict.fromkeys((name, name.strip(), unquote(name.strip())))  # some have the line end of a list
        return next((found for form in forms if (found := self._find(form)) is not None), None)

    def _find(self, name: str) -> Path | None:
        parts = parts_of(name)
        entries = self._entries.get(parts[-1]) if parts else None
        if not entries:
            return None
        base, absolute = re.split(r"[/\\]", name)[-1], name[0] in "/\\" or _ROOT.match(name) is not None
        splits = self._splits | splits_of(parts[:-1])
        scored = [
            (common, entry.parts == parts, entry.path.name == base, entry.path)
            for entry in entries
            if ((common := _common(entry.parts, parts)) in (len(entry.parts), len(parts)) or (absolute and common > 1))
            and not _differ(splits, splits_of(entry.parts[:-1]))
        ]
        scored.sort(reverse=True)
        if len(scored) > 1 and scored[0][:-1] == scored[1][:-1]:
            both = f"{scored[1][-1]} or {scored[0][-1]}"
            raise UserError(
                f"{name}: could be {both}; include its folder in the name, or give the folder of the images"
            )
        return scored[0][-1] if scored else None


def _differ(wanted: frozenset[int], found: frozenset[int]) -> bool:
    """Return whether both name splits, but none in common."""
    return bool(wanted and found) and not wanted & found


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


def locate(names: Sequence[str], folders: Sequence[tuple[Path, int | None]], split: str = "") -> Located:
    """Find images by name in the folder that contains most of them, and the rest by path suffix.

    Each folder comes with the depth to which missing names are searched (None: unlimited). If a folder contains some of
    the images, the others are searched only there: elsewhere, files of these names may be other images. `split` is that
    of `FileIndex`. Raises UserError for a name that matches two files.
    """
    (home, depth), absent = folders[0], list(range(len(names)))
    places = [os.path.split(name) for name in names]
    for folder, deep in folders:
        others = _absent(folder, places)
        if len(others) < len(absent):
            home, depth, absent = folder, deep, others
        if not absent:
            return Located(home, list(names), [])
    lacking = set(absent)
    if any(i not in lacking and not os.path.isabs(name) for i, name in enumerate(names)):  # noqa: PTH117  any text
        folders = [(home, depth)]
    indexes = [_index(folder, depth, split) for folder, depth in folders if folder.is_dir()]
    found, first, count = list(names), "", 0
    for i in absent:
        path = next((path for index in indexes if (path := index.find(names[i])) is not None), None)
        if path is not None:
            found[i] = name_in(home, path)
            first, count = first or f"{names[i]!r} is {path}", count + 1
    return Located(home, found, by_end(count, len(names), first))


def by_end(count: int, total: int, first: str) -> list[str]:
    """Return a note about images that were found by the end of their path, if there are any."""
    return [f"{count} of {total} images were found by the end of their path (first: {first})"] if count else []


def name_in(folder: Path, path: Path) -> str:
    """Return a file's name relative to a folder or, if it lies elsewhere, its absolute path."""
    folder, path = folder.absolute(), path.absolute()
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)


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


def _index(folder: Path, depth: int | None, split: str) -> FileIndex:
    try:
        return FileIndex(folder, [path for path in walk(folder, depth) if is_image(path)], split=split)
    except UserError:  # an unreadable subfolder; files in it are reported as missing
        return FileIndex(folder, [])


def find_folder(name: str, bases: Sequence[Path]) -> Path | None:
    """Find a file or folder below one of the bases, by its name in a dataset or, failing that, its longest suffix."""
    for base in bases:
        if exists(base / name):
            return base / name
    parts = [part for part in re.split(r"[/\\]", name) if part not in ("", ".", "..")]
    for start in range(len(parts)):
        for base in bases:
            if exists(path := base.joinpath(*parts[start:])):
                return path
    return None


def exists(path: Path) -> bool:
    """Return whether a file or folder exists, whatever its name: pathlib raises for names that are too long."""
    return os.path.exists(path)  # noqa: PTH110
