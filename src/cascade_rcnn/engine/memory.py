"""The memory that is left for this process, and the memory that a computation takes. On Linux only."""

import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

# Where control groups limit memory: by kind ("" is version 2), the folder, and the files with limit and usage.
_GROUPS = {
    "": (".", "memory.max", "memory.current"),
    "memory": ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
}
_INTERVAL = 0.002  # seconds between two looks at the memory


def available_memory(root: Path = Path("/")) -> float | None:
    """Return the bytes that the machine, and the limits of a container or service, leave; None if that is unknown."""
    try:
        found = re.search(r"^MemAvailable: +(\d+) kB", (root / "proc/meminfo").read_text(), re.MULTILINE)
        groups = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    if found is None:
        return None
    return min([1024.0 * int(found[1]), *_left_by_groups(groups, root / "sys/fs/cgroup")])


def _left_by_groups(lines: list[str], root: Path) -> Iterator[float]:
    """Yield what each group of this process leaves, up to the outermost."""
    for line in lines:
        _, kinds, path = line.split(":", 2)
        for kind in _GROUPS.keys() & kinds.split(","):
            base, limit, usage = _GROUPS[kind]
            inner = PurePosixPath(path.lstrip("/"))
            for group in dict.fromkeys((inner, *inner.parents)):
                folder = root / base / group
                try:
                    most, used = (int((folder / name).read_text()) for name in (limit, usage))
                    cached = re.search(r"^(?:total_)?inactive_file (\d+)", (folder / "memory.stat").read_text(), re.M)
                except (OSError, ValueError):  # no such group in this container, or no limit
                    continue
                yield float(most - used + (int(cached[1]) if cached else 0))


def memory_of(run: Callable[[], object]) -> float:
    """Call `run`, and return by how many bytes this process grew at most meanwhile."""
    before = most = _resident()
    ended = threading.Event()

    def watch() -> None:
        nonlocal most
        while not ended.wait(_INTERVAL):
            most = max(most, _resident())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        run()
    finally:
        ended.set()
        watcher.join()
    return float(max(most, _resident()) - before)


def _resident() -> int:
    found = re.search(r"^VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    return 1024 * int(found[1]) if found else 0
