"""The memory that is left for this process, and the memory that a computation takes. On Linux only."""

import ctypes
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

# Where control groups limit memory: by kind ("" is version 2), the folder, and the files with limit and usage.
_GROUPS = {
    "": (".", "memory.max", "memory.current"),
    "memory": ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
}


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
    """Call `run`, and return by how many bytes the memory of this process grew at most meanwhile."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:  # glibc keeps freed memory, which `run` would use without growth
        trim(0)
    with suppress(OSError):  # a system that does not reset the peak counts an earlier one, which errs on the safe side
        Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    run()
    return float(max(0, _status("VmHWM") - before))


def _status(field: str) -> int:
    """Return the bytes of a field of this process's status."""
    found = re.search(rf"^{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    return 1024 * int(found[1]) if found else 0
