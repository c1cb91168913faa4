"""Read text files as common tools write them: UTF-8 or UTF-16 (PowerShell), with or without a byte order mark."""

import codecs
import stat
from io import StringIO
from pathlib import Path

from cascade_rcnn.errors import UserError

LFS = "this is a pointer of Git LFS, not the file itself; run `git lfs pull`"
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def check_regular(path: str | Path) -> None:
    """Raise UserError for a folder, pipe or device; reading the latter two could block forever.

    A path that does not exist raises FileNotFoundError.
    """
    mode = Path(path).stat().st_mode
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "a pipe or device"
        raise UserError(f"{path}: this is {what}, not a file; give a file")


def is_lfs_pointer(data: bytes) -> bool:
    """Return whether a file begins like the text that a clone without Git LFS has in its place."""
    return data.startswith(b"version https://")


def read_utf8(path: str | Path) -> bytes:
    """Return the bytes of a text file without its byte order mark; UTF-16 is converted to UTF-8, the rest unchecked.

    Raises UserError naming the file if it cannot be read.
    """
    try:
        check_regular(path)
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; check the path") from None
    except UserError:
        raise
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error}); check it") from None
    if is_lfs_pointer(data):
        raise UserError(f"{path}: {LFS}")
    if data.startswith(_UTF16):
        try:
            return data.decode("utf-16").encode()
        except UnicodeError as error:
            raise UserError(f"{path}: this is not text ({error}); save it as UTF-8") from None
    return data.removeprefix(codecs.BOM_UTF8)


def read_text(path: str | Path) -> str:
    """Read a text file like `read_utf8`. Raises UserError naming the file if it is not UTF-8."""
    data = read_utf8(path)
    if (said := not_utf8(data)) is not None:
        raise UserError(f"{path}: {said}")
    return data.decode()


def not_utf8(data: bytes) -> str | None:
    """Return what is wrong with text that is not UTF-8, and where; None if it is, or is UTF-16."""
    if data.startswith(_UTF16):
        return None
    try:
        data.decode()
    except UnicodeDecodeError as error:
        near = data[max(error.start - 20, 0) : error.start + 20].decode(errors="replace")
        return f"this is not UTF-8 text ({error.reason} near {near!r}); save it as UTF-8"
    return None


def read_lines(path: str | Path) -> list[str]:
    """Read the stripped lines of a list of file names; invalid UTF-8 becomes surrogates, as in `os.fsdecode`.

    Empty lines are kept, so that indices match line numbers.
    """
    return [line.strip() for line in lines_of(read_utf8(path).decode("utf-8", "surrogateescape"))]


def lines_of(text: str) -> StringIO:
    """Iterate over lines, which end in LF, CRLF or CR; `str.splitlines` also splits at U+2028 and form feeds."""
    return StringIO(text, newline=None)
