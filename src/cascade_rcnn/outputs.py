"""Checks of a command's outputs before its work starts: they can be written, and writing them destroys nothing."""

import errno
import os
from collections.abc import Iterable, Iterator
from os import PathLike
from pathlib import Path
from typing import TypeAlias

from cascade_rcnn.errors import UserError
from cascade_rcnn.files import is_stream, unwritable

_Identity: TypeAlias = tuple[int, int] | str


def check_outputs(outputs: Iterable[str | Path | None], inputs: Iterable[object] = ()) -> None:
    """Raise UserError for a file that cannot be written, is also an input, or is given for two outputs.

    Outputs that are None and inputs that are not existing paths (names, addresses, objects) are left out.
    """
    files = [Path(path) for path in outputs if path is not None]
    seen: dict[_Identity, Path] = {}
    for path in files:
        _check_writable(path)
        same = None if is_stream(path) else seen.setdefault(_identity(path), path)
        if same is not None and same is not path:
            raise UserError(f"{path}: is given for two outputs; choose another file for one of them")
    check_apart(files, inputs)


def check_apart(outputs: Iterable[Path], inputs: Iterable[object]) -> None:
    """Raise UserError if an input is one of the outputs, or in one that is a folder.

    Symbolic links and other spellings of a path do not matter. The inputs are only read if any of the outputs exists.
    """
    existing = {_identity(path): path for path in outputs if path.exists() and not is_stream(path)}
    if not existing:
        return
    for one in inputs:
        found = next((existing[place] for place in _places(one) if place in existing), None)
        if found is not None:
            raise UserError(f"{found}: would replace an input of this command ({one}); choose another output")


def check_owned(folder: Path, names: Iterable[str], *, record: str) -> None:
    """Raise UserError if a folder contains one of the names, but not the record that this package writes before them.

    Such files were not written by this package.
    """
    if (folder / record).exists():
        return
    for name in names:
        if (folder / name).exists():
            raise UserError(
                f"{folder / name}: would be replaced, but was not written by this command (there is no {record}); "
                "choose another output"
            )


def _check_writable(path: Path) -> None:
    if is_stream(path):
        return
    place = Path(os.path.realpath(path))
    above = next((parent for parent in place.parents if os.path.lexists(parent)), place)
    code = None
    if place.is_dir():
        code = errno.EISDIR
    elif not above.is_dir():
        code = errno.ENOTDIR
    elif not os.access(above, os.W_OK | os.X_OK):
        code = errno.EACCES
    if code is not None:
        raise unwritable(path, OSError(code, os.strerror(code)))


def _identity(path: Path) -> _Identity:
    """Return what all paths of a file or folder, which need not exist, have in common."""
    place = Path(os.path.realpath(path))
    try:
        status = place.stat()
    except OSError:
        return str(place)
    return status.st_dev, status.st_ino


def _places(given: object) -> Iterator[_Identity]:
    """Yield the identities of an existing file or folder and of the folders that contain it."""
    if not isinstance(given, str | PathLike) or not os.path.exists(given):  # noqa: PTH110  also not if unreadable
        return
    place = Path(os.path.realpath(given))
    yield from map(_identity, (place, *place.parents))
