"""Whether a JPEG 2000 file is all there: its decoder makes what it can of one that was cut off, without a word."""

import os
from typing import IO

_SIGNATURE = b"\x00\x00\x00\x0cjP  \r\n\x87\n"  # of a file of boxes; others are a codestream from their first byte
_END_OF_CODESTREAM = b"\xff\xd9"


def is_whole(file: IO[bytes]) -> bool:
    """Whether the file holds its codestream to the end (ISO/IEC 15444-1, A.4.4 and annex I)."""
    length = file.seek(0, os.SEEK_END)
    file.seek(0)
    end = _end_of_codestream(file, length) if file.read(len(_SIGNATURE)) == _SIGNATURE else length
    if not 2 <= end <= length:
        return False
    file.seek(end - 2)
    return file.read(2) == _END_OF_CODESTREAM


def _end_of_codestream(file: IO[bytes], length: int) -> int:
    """Where the box of the first codestream ends; 0 where there is none."""
    start = len(_SIGNATURE)
    while start < length:
        file.seek(start)
        head = file.read(16)
        size, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if size == 0:  # the last box, which goes on to the end of the file
            size = length - start
        elif size == 1:  # too large for four bytes
            size = int.from_bytes(head[8:16], "big")
        if size < 8:
            return 0
        if kind == b"jp2c":
            return start + size
        start += size
    return 0
