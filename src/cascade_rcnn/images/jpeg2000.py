"""Detect truncated JPEG 2000 files, which the decoder reads as far as it can without raising an error."""

import os
from typing import IO

_SIGNATURE = b"\x00\x00\x00\x0cjP  \r\n\x87\n"  # of the JP2 container; other files are a bare codestream
_END_OF_CODESTREAM = b"\xff\xd9"


def is_whole(file: IO[bytes]) -> bool:
    """Return whether the file contains its complete codestream (ISO/IEC 15444-1, A.4.4 and annex I)."""
    length = file.seek(0, os.SEEK_END)
    file.seek(0)
    end = _end_of_codestream(file, length) if file.read(len(_SIGNATURE)) == _SIGNATURE else length
    if not 2 <= end <= length:
        return False
    file.seek(end - 2)
    return file.read(2) == _END_OF_CODESTREAM


def _end_of_codestream(file: IO[bytes], length: int) -> int:
    """Return the end of the first codestream's box, or 0 if there is none."""
    start = len(_SIGNATURE)
    while start < length:
        file.seek(start)
        head = file.read(16)
        size, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if size == 0:  # the last box, which extends to the end of the file
            size = length - start
        elif size == 1:  # too large for four bytes
            size = int.from_bytes(head[8:16], "big")
        if size < 8:
            return 0
        if kind == b"jp2c":
            return start + size
        start += size
    return 0
