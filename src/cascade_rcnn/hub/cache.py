"""The folder where fetched detectors are kept, and the right to fill a place in it."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cascade_rcnn.files import unwritable

FOLDER = "CASCADE_RCNN_CACHE"
OFFLINE = "CASCADE_RCNN_OFFLINE"
_AGAIN = 0.2  # seconds between two looks at a lock


def cache_folder() -> Path:
    """CASCADE_RCNN_CACHE, or `cascade-rcnn` in XDG_CACHE_HOME, or in ~/.cache."""
    if given := os.environ.get(FOLDER):
        return Path(given).expanduser()
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "cascade-rcnn"


def is_offline() -> bool:
    """Whether nothing may be fetched: CASCADE_RCNN_OFFLINE is set (0, no and false do not count)."""
    return os.environ.get(OFFLINE, "").lower() not in ("", "0", "no", "false")


@contextmanager
def alone(place: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Be the only one, among threads and processes, who fills `place`; waits for others, and says so.

    The lock ends with the process. Systems and file systems that know no locks do without.
    """
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        file = place.with_name(f"{place.name}.lock").open("a+")
    except OSError as error:
        raise unwritable(place, error) from None
    with file:
        if not _lock(file.fileno()):
            say(f"{place.name} is being fetched by another process; waiting for it")
            while not _lock(file.fileno()):
                time.sleep(_AGAIN)
        yield


def _lock(descriptor: int) -> bool:
    """Lock the open file. False if it is locked through another descriptor, in whatever process."""
    try:
        import fcntl
    except ImportError:  # Windows
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # no locks there
        return True
    return True
