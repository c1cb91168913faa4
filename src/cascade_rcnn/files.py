"""Atomic file writes.

Files are written to a temporary name, synced to disk and renamed: no reader ever sees a partial file, even after a
power loss.
"""

import errno
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cascade_rcnn.errors import UserError
from cascade_rcnn.text_files import check_regular

LONGEST_NAME = 230  # bytes, of the 255 that most file systems allow: others are derived from it
_ASIDE = re.compile(r"\..+\.(\d+)\.tmp")


@contextmanager
def replacing(path: str | Path, *, backup: str | Path | None = None) -> Iterator[Path]:
    """Yield a path to write to, which replaces `path` if the block succeeds and is deleted if it fails.

    The folder is created if needed. The previous `path` becomes `backup`, if given. Of a symbolic link, the target is
    replaced. A pipe or device, such as /dev/stdout, is not replaced: the file is written to it when it is complete.
    Raises UserError if the path is not writable.
    """
    path = Path(path)
    try:
        with _streamed(path) if is_stream(path) else _renamed(Path(os.path.realpath(path)), backup) as aside:
            yield aside
    except OSError as error:
        raise unwritable(path, error) from None


@contextmanager
def _renamed(path: Path, backup: str | Path | None) -> Iterator[Path]:
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    aside = path.with_name(f".{_short(path.name)}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.touch()
        mode = aside.stat().st_mode  # follows the user's umask; some writers set a stricter one
        yield aside
        aside.chmod(mode)
        sync(aside)
        if backup is not None and path.exists():
            path.replace(backup)
        aside.replace(path)
        _sync_folder(path.parent)
    finally:
        with suppress(OSError):
            aside.unlink(missing_ok=True)


def _short(name: str) -> str:
    """Return a name that leaves room for a process id: the name itself, or a digest of one that is nearly too long."""
    encoded = os.fsencode(name)
    return name if len(encoded) <= LONGEST_NAME else hashlib.sha256(encoded).hexdigest()


@contextmanager
def _streamed(path: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        aside = Path(folder) / path.name
        yield aside
        print(end="", flush=True)  # what was printed before comes first
        with aside.open("rb") as source, open(os.dup(1) if _is_stdout(path) else path, "ab") as target:  # noqa: PTH123
            shutil.copyfileobj(source, target)


def is_stream(path: Path) -> bool:
    """Return whether a path is a pipe, a device or standard output (even if that is a file), not to be replaced."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)) or _is_stdout(path)


def _is_stdout(path: Path) -> bool:
    with suppress(OSError):
        return os.path.samestat(path.stat(), os.fstat(1))
    return False


@contextmanager
def folder_aside(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path` in which to prepare it; it is deleted at the end of the block.

    Folders left by killed processes are removed first.
    """
    for left in path.parent.glob(f".{path.name}.*.tmp"):
        if left.is_dir() and not _is_of_another(left.name.split(".")[-2]):
            shutil.rmtree(left, ignore_errors=True)
    folder = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _is_of_another(process: str) -> bool:
    """Return whether another process with this id may exist. In containers, a killed one often had this one's id."""
    if os.name == "nt":  # os.kill would terminate the process there
        return True
    try:
        os.kill(int(process), 0)
    except (ValueError, OverflowError, ProcessLookupError):
        return False
    except PermissionError:  # another user's process
        return True
    return int(process) != os.getpid()


class NoRoomError(UserError):
    """Nothing can be written to this disk: it is full, read-only or failing."""


def unwritable(path: str | Path, error: OSError) -> UserError:
    """Return the error for a file that cannot be written."""
    kind = NoRoomError if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO) else UserError
    return kind(f"{path}: cannot be written ({error.strerror or error}); choose another output")


def sync(path: Path) -> None:
    """Wait until the file's content is on disk."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    """Sync a rename to disk, if the system supports it."""
    with suppress(OSError):  # Windows cannot open folders, and some network file systems cannot sync them
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove_leftovers(folder: Path) -> None:
    """Delete temporary files left by killed processes in a folder tree."""
    for path in folder.rglob(".*.tmp"):
        name = _ASIDE.fullmatch(path.name)
        if name and path.is_file() and not _is_of_another(name[1]):  # such as a training run in a subfolder
            path.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a text as UTF-8, atomically."""
    with replacing(path) as aside:
        aside.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write a value as indented JSON, atomically."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file, with or without a byte order mark. Raises UserError if it is missing or invalid."""
    try:
        check_regular(path)
        return json.loads(Path(path).read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; check the path") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}); check the path") from None
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{path}: not a JSON file ({error})") from None
