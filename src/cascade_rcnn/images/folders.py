"""Expand files, folders and glob patterns to image files and their names; does not import torch."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain, takewhile
from pathlib import Path
from typing import NamedTuple

from cascade_rcnn.errors import UserError
from cascade_rcnn.images.decoding import EXTENSIONS, ONLINE, UNSUPPORTED
from cascade_rcnn.text import count

# Names in the output folder of `predict`: the annotated images, and the journal.
PICTURES, JOURNAL = "pictures", "images.jsonl"

_VIDEOS = (
    *("3gp", "asf", "avi", "flv", "h264", "h265", "hevc", "m2ts", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg", "mts"),
    *("mxf", "ogv", "ts", "vob", "webm", "wmv"),
)
VIDEOS = frozenset(f".{kind}" for kind in _VIDEOS)
_TEXTS = (".txt", ".json", ".xml", ".csv", ".yaml")  # not opened: there may be one beside each image
_BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"II*\0", b"MM\0*")  # of most images


class Source(NamedTuple):
    """An image file and its name in the results, relative to the given folder."""

    path: Path
    name: str


def inside(name: str) -> Path:
    """Return a relative path, without `..`, for an image whose name may be absolute or lead out of its folder.

    >>> inside("../images/1.png").as_posix(), inside("/data/1.png").as_posix()
    ('_/images/1.png', 'data/1.png')
    """
    path = Path(name)
    return Path(*("_" if part == ".." else part for part in path.parts if part != path.anchor))


def picture_of(name: str) -> Path:
    """Return the annotated image of an image in the folder: formats other than JPEG and PNG become PNG.

    >>> picture_of("a/1.jpg").as_posix(), picture_of("a/1.bmp").as_posix()
    ('a/1.jpg', 'a/1.bmp.png')
    """
    path = inside(name)
    return path if path.suffix.lower() in (".jpg", ".jpeg", ".png") else path.with_name(f"{path.name}.png")


def has_wildcard(path: Path) -> bool:
    """Return whether the path is a glob pattern."""
    return any(set("*?[") & set(part) for part in path.parts)


def expand(patterns: Sequence[str | Path], *, left_out: Counter[str] | None = None) -> Iterator[Source]:
    """Yield image files, the images below folders and glob matches lazily, sorted per folder, each file once.

    Names are relative to the given folder, or to the common parent of several, so that they are unique. Hidden files
    and images written by `predict` are skipped; a folder reachable through several links is entered once.
    `left_out` counts what is skipped: images of unsupported formats by suffix or without one, videos, unreadable
    folders and broken links.
    Raises UserError, before yielding anything, for a path or pattern without images.
    """
    if not patterns:
        raise UserError("no images given; give image files, folders or glob patterns")
    if "" in map(str, patterns):  # to pathlib, this is the current folder
        raise UserError("a path is empty, like that of an unset variable; write . for the current folder")
    walk = _Walk(Counter() if left_out is None else left_out)
    parts = [(pattern, _parts(Path(pattern))) for pattern in patterns]
    base = os.path.commonpath([os.path.abspath(root) for _, (root, _) in parts])  # noqa: PTH100  (without "..")
    found = []
    for pattern, (root, rest) in parts:
        paths = walk.images(root, rest)
        head = next(paths, None)
        if head is None:
            if "://" in str(pattern):
                raise UserError(f"{pattern}: {ONLINE}")
            skipped = "".join(f" ({note})" for note in notes_of(walk.left_out)[:1])
            raise UserError(f"{pattern}: no images found{skipped}; give image files, folders or glob patterns")
        found.append(chain([head], paths))
    return _named(chain.from_iterable(found), base)


def is_drawn(folder: Path) -> bool:
    """Return whether a folder has the annotated images that `predict` wrote, whose names are those of the images."""
    return folder.name == PICTURES and (folder.parent / JOURNAL).exists()


def notes_of(left_out: Counter[str], in_part: int = 0, dark: int = 0) -> list[str]:
    """Return a line for each kind of image that `expand` left out, that was read in part, or as nearly black."""
    others = sorted(left_out.items())
    kinds = ", ".join(f"{number} {kind}" for kind, number in others if kind.startswith("."))
    unread = [f"skipped images in unsupported formats: {kinds}; convert them to JPEG or PNG"] if kinds else []
    unread += [f"skipped {kind}: {number}" for kind, number in others if not kind.startswith(".")]
    unread += [f"read only the first page or frame: {count(in_part, 'image')}"] if in_part else []
    advice = "if recorded with 8, 10 or 12 bits, multiply by 256, 64 or 16"
    black = f"read as nearly black: {count(dark, 'image')} of 16 bits with values below an eighth of 65535; {advice}"
    return [*unread, *([black] if dark else [])]


def _parts(path: Path) -> tuple[Path, str]:
    """Split into the folder that names are relative to, and the file or pattern in it (empty: the whole folder)."""
    if path.is_dir():
        return path, ""
    if path.exists():
        return path.parent, path.name
    fixed = list(takewhile(lambda part: not has_wildcard(Path(part)), path.parts))
    if len(fixed) == len(path.parts):  # no wildcard: a path that does not exist
        return path.parent, path.name
    return Path(*fixed), str(Path(*path.parts[len(fixed) :]))


def _named(paths: Iterator[Path], base: str) -> Iterator[Source]:
    seen: set[str] = set()
    for path in paths:
        name = Path(os.path.relpath(path, base)).as_posix()
        if name not in seen:
            seen.add(name)
            yield Source(path, name)


class _Walk:
    """Walks folders for images and counts what it skips."""

    def __init__(self, left_out: Counter[str]) -> None:
        self.left_out = left_out

    def images(self, root: Path, rest: str) -> Iterator[Path]:
        """Yield the images of a folder, a single file in it, or the matches of a pattern."""
        if not rest:
            return self._below(root, set())
        if (root / rest).is_file():
            return iter([root / rest])  # a file named explicitly may have any suffix
        if not has_wildcard(Path(rest)):
            return iter(())
        return (path for path in sorted(root.glob(rest)) if not _is_hidden(path, root) and self._is_image(path))

    def _below(self, folder: Path, entered: set[tuple[int, int]]) -> Iterator[Path]:
        try:
            status, entries = folder.stat(), sorted(folder.iterdir())
        except OSError:
            self.left_out["folders that cannot be read"] += 1
            return
        if (status.st_dev, status.st_ino) in entered:
            return
        entered.add((status.st_dev, status.st_ino))
        for entry in entries:
            if _is_hidden(entry, folder) or is_drawn(entry):
                continue
            if entry.is_dir():
                yield from self._below(entry, entered)
            elif self._is_image(entry):
                yield entry

    def _is_image(self, path: Path) -> bool:
        suffix = path.suffix.lower()
        known = suffix in EXTENSIONS
        if not known and suffix in UNSUPPORTED:
            self.left_out[suffix] += 1
        elif suffix in VIDEOS:
            self.left_out["videos"] += 1
        elif not known and suffix not in _TEXTS and _begins_like_an_image(path):
            self.left_out["images whose names have no suffix of images"] += 1
        if known and path.is_symlink() and not path.exists():
            self.left_out["links to missing files"] += 1
        return known and path.is_file()  # opening a pipe would block


def _begins_like_an_image(path: Path) -> bool:
    if not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            return file.read(16).startswith(_BEGINNINGS)
    except OSError:
        return False


def _is_hidden(path: Path, root: Path) -> bool:
    return any(part.startswith(".") and part != ".." for part in path.relative_to(root).parts)
