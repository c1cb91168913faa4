"""Locks on folders and files. Where they are not supported, as on Windows and some file systems, there are none."""

import errno
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from cascade_rcnn.errors import UserError
from cascade_rcnn.files import unwritable

_LOCK = ".lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock the folder inside the block, creating it if needed. The lock ends with the process at the latest.

    Raises UserError if another process holds it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / _LOCK).open("a+")
    except OSError as error:
        raise unwritable(folder, error) from None
    with file:
        if not _lock(file.fileno()):
            file.seek(0)
            raise UserError(
                f"{folder}: another process ({file.read().strip()}) is writing there; wait for it to finish, or choose "
                "another --output"
            )
        with suppress(OSError):  # on a full disk, the lock works without its owner's name
            file.truncate(0)
            file.write(f"{os.getpid()} on {platform.node()}")
            file.flush()
        yield


def lock_file(file: IO[Any]) -> bool:
    """Lock an open file until it is closed. Return False if it is locked through another opening, in any process."""
    try:
        import fcntl
    except ImportError:  # Windows
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _lock(descriptor: int) -> bool:
    """Lock the file for this process, not its children. Return False if another process holds the lock."""
    try:
        import fcntl
    except ImportError:  # Windows
        return True
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EACCES, errno.EAGAIN)
    return True
