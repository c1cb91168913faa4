"""The cache folder of downloaded detectors, and locks on its entries."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cascade_rcnn.files import unwritable
from cascade_rcnn.locks import lock_file

FOLDER = "CASCADE_RCNN_CACHE"
OFFLINE = "CASCADE_RCNN_OFFLINE"
_AGAIN = 0.2  # seconds between attempts to lock


def cache_folder() -> Path:
    """Return CASCADE_RCNN_CACHE, or `cascade-rcnn` in XDG_CACHE_HOME or ~/.cache."""
    if given := os.environ.get(FOLDER):
        return Path(given).expanduser()
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "cascade-rcnn"


def is_offline() -> bool:
    """Return whether downloads are disabled by CASCADE_RCNN_OFFLINE (0, no and false do not count)."""
    return os.environ.get(OFFLINE, "").lower() not in ("", "0", "no", "false")


@contextmanager
def alone(place: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Hold a lock on `place` against other threads and processes; if it has to wait for them, say so.

    The lock ends with the process. Where locks are not supported, as on Windows and some file systems, there is none.
    """
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        file = place.with_name(f"{place.name}.lock").open("a+")
    except OSError as error:
        raise unwritable(place, error) from None
    with file:
        if not lock_file(file):
            say(f"{place.name} is being downloaded by another process; waiting for it")
            while not lock_file(file):
                time.sleep(_AGAIN)
        yield
