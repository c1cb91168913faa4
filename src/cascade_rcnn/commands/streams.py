"""Keep running when nobody reads the output any more: `| head`, a killed `tee`, a closed terminal, a full disk.

A command finishes its work even if nobody can read what it prints, or if there is no way to encode it.
"""

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO


class _Lasting(io.FileIO):
    """A file whose writes never fail: what cannot be written is dropped, and the first error is kept."""

    error: OSError | None = None

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            self.error = self.error or error
            return memoryview(data).nbytes


@contextmanager
def lasting_streams() -> Iterator[None]:
    """Let printing inside the block never fail.

    Raises OSError at the end if what was printed on stdout could not be written, unless its reader chose to leave.
    """
    _fill()
    before = sys.stdout, sys.stderr
    (sys.stdout, out), (sys.stderr, _) = _lasting(sys.stdout, 1), _lasting(sys.stderr, 2)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdout, sys.stderr = before
        if out is not None and out.error is not None and out.error.errno != errno.EPIPE:
            raise out.error


def _fill() -> None:
    """Open closed standard streams (`>&-`) to nowhere, so that no other file gets their numbers and is printed into."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)


def _lasting(stream: TextIO | None, number: int) -> tuple[TextIO, _Lasting | None]:
    """Return the same stream with lasting writes; itself if it is not a plain file (captured, or a Windows console).

    What it cannot encode is escaped. `stream` is None if file descriptor `number` was closed when Python started.
    """
    if stream is None:
        return open(number, "w", encoding="utf-8", closefd=False), None
    buffer = getattr(stream, "buffer", None)
    if not isinstance(stream, io.TextIOWrapper) or not isinstance(getattr(buffer, "raw", buffer), io.FileIO):
        return stream, None
    stream.flush()
    file = _Lasting(stream.fileno(), "w", closefd=False)
    lasting = io.TextIOWrapper(
        io.BufferedWriter(file),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
    return lasting, file
