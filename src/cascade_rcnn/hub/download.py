"""Download large files over HTTP, with resumption, retries and a hash check."""

import errno
import hashlib
import http.client
import re
import shutil
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeAlias
from urllib.parse import urlsplit

from cascade_rcnn.errors import UserError
from cascade_rcnn.files import sync

Report: TypeAlias = Callable[[int, int | None], None]  # bytes received, and the total if known
_BLOCK = 1 << 20
_PASSING = {408, 425, 429, 500, 502, 503, 504}  # statuses worth another attempt
_LASTING = (socket.gaierror, ssl.SSLCertVerificationError, ConnectionRefusedError)
_AWAY = {errno.ENETUNREACH, errno.EHOSTUNREACH}


class UnreachableError(UserError):
    """The file cannot be downloaded from the server."""


class RejectedError(UserError):
    """The file was downloaded completely, but has the wrong hash."""


class _BrokenError(Exception):
    """This attempt failed; another may succeed."""


@dataclass(frozen=True, kw_only=True)
class Patience:
    """Timeouts, retries and the maximum size of a file."""

    timeout: float = 30.0  # seconds without a byte
    tries: int = 5
    pause: float = 1.0  # seconds before the second attempt; doubled each time
    most: int = 8 << 30  # bytes


def download(
    url: str,
    file: Path,
    digest: tuple[str, str] | None = None,
    *,
    report: Report = lambda done, total: None,
    patience: Patience = Patience(),
) -> None:
    """Download `url` to `file`, which appears only once complete; `digest` is a hash algorithm and its first digits.

    Partial data is kept in `file`.part and resumed by the next call. Raises `UnreachableError` if the file cannot be
    downloaded, `RejectedError` if its hash differs (it is kept as rejected-`file`), and UserError if it cannot be
    written or is too large.
    """
    part = file.with_name(f"{file.name}.part")
    resumed = part.exists()
    _try_often(url, part, report, patience)
    if digest is not None and resumed and not matches(part, digest):  # it may begin with data of another version
        _forget(part)
        _try_often(url, part, report, patience)
    if digest is not None and not matches(part, digest):
        rejected = file.with_name(f"rejected-{file.name}")
        _rename(part, rejected)
        raise RejectedError(f"{rejected}: downloaded from {url}, but its {digest[0]} does not begin with {digest[1]}")
    sync(part)
    _rename(part, file)


def matches(file: Path, digest: tuple[str, str]) -> bool:
    """Return whether the file's hash begins with these digits."""
    with file.open("rb") as content:
        found = hashlib.file_digest(content, lambda: hashlib.new(digest[0], usedforsecurity=False))
    return found.hexdigest().startswith(digest[1])


def _try_often(url: str, part: Path, report: Report, patience: Patience) -> None:
    for attempt in range(1, patience.tries + 1):
        try:
            return _continue(url, part, report, patience)
        except _BrokenError as error:
            if attempt == patience.tries:
                raise UnreachableError(f"{url}: the download failed {attempt} times, last with: {error}") from None
        time.sleep(patience.pause * 2 ** (attempt - 1))
    raise ValueError(f"tries={patience.tries}")


def _continue(url: str, part: Path, report: Report, patience: Patience) -> None:
    """Request the missing bytes and append them."""
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "cascade-rcnn", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if version := _version_file(part).read_text().strip() if _version_file(part).exists() else "":
            headers["If-Range"] = version  # a changed file is sent from the beginning
    opener = urllib.request.build_opener(_Redirects())
    try:
        with opener.open(urllib.request.Request(url, headers=headers), timeout=patience.timeout) as answer:
            have, total = _begin(answer, part, have, url, patience)
            _receive(answer, part, have, total, report, patience)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # nothing after that position: the part is complete, or not of this file
            if error.headers.get("Content-Range") == f"bytes */{have}":
                return
            _forget(part)
            raise _BrokenError("the server has no such range") from None
        answer = f"the server responded with {error.code} {' '.join(str(error.reason).split())}"
        if error.code in _PASSING:
            raise _BrokenError(answer) from None
        raise UnreachableError(f"{url}: {answer}") from None
    except urllib.error.URLError as error:
        if isinstance(error.reason, _LASTING) or getattr(error.reason, "errno", None) in _AWAY:
            raise UnreachableError(f"{url}: cannot be reached ({error.reason})") from None
        raise _BrokenError(str(error.reason)) from None
    except (http.client.HTTPException, OSError) as error:
        raise _BrokenError(str(error) or type(error).__name__) from None


def _begin(answer: Any, part: Path, have: int, url: str, patience: Patience) -> tuple[int, int | None]:
    """Return the position of the response's bytes and the file's size; drop the part if the response starts over."""
    length = answer.headers.get("Content-Length", "")
    coming = int(length) if re.fullmatch(r"\d{1,18}", length) else None
    if answer.status == 206:
        start = re.match(r"bytes (\d{1,18})-", answer.headers.get("Content-Range", ""))
        if start is None or int(start[1]) != have:
            _forget(part)
            raise _BrokenError("the server sent another range")
    else:
        _forget(part)
        have = 0
    total = None if coming is None else have + coming
    if total is not None and total > patience.most:
        raise UserError(f"{url}: {total} bytes, more than the limit of {patience.most}; download it by other means")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(part.parent).free
        if have == 0 and (version := _version(answer.headers)):
            _version_file(part).write_text(version)
    except OSError as error:
        raise _no_room(part, error.strerror or str(error)) from None
    if coming is not None and coming > free:
        raise _no_room(part, f"{coming / 1e6:.0f} MB remain to be downloaded, {free / 1e6:.0f} MB are free")
    return have, total


def _receive(answer: Any, part: Path, have: int, total: int | None, report: Report, patience: Patience) -> None:
    with _opened(part) as file:
        report(have, total)
        while block := answer.read1(_BLOCK):
            have += len(block)
            if have > patience.most:
                raise UserError(f"{part}: more than {patience.most} bytes were sent; download the file by other means")
            try:
                file.write(block)
                file.flush()
            except OSError as error:
                raise _no_room(part, error.strerror or str(error)) from None
            report(have, total)
    if total is not None and have < total:
        raise _BrokenError(f"received {have} of {total} bytes")


def _opened(part: Path) -> IO[bytes]:
    try:
        return part.open("ab")
    except OSError as error:
        raise _no_room(part, error.strerror or str(error)) from None


def _no_room(part: Path, reason: str) -> UserError:
    return UserError(
        f"{part.parent}: cannot be written ({reason}); free some space, or set CASCADE_RCNN_CACHE to another folder; "
        "then run the same command to continue"
    )


def _version_file(part: Path) -> Path:
    """Return the file that stores the version (ETag or date) that the part belongs to."""
    return part.with_name(f"{part.name}.version")


def _version(headers: Any) -> str | None:
    """Return a value for `If-Range`: a strong ETag, or a date."""
    tag = headers.get("ETag", "")
    return headers.get("Last-Modified") if not tag or tag.startswith("W/") else tag


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _version_file(part).unlink(missing_ok=True)


def _rename(part: Path, file: Path) -> None:
    part.replace(file)
    with suppress(OSError):
        _version_file(part).unlink()


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a few redirects, but none from an encrypted to an unencrypted URL."""

    max_redirections = 5
    max_repeats = 2

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        """Return the request for the new URL. Raises `UnreachableError` if it changes the scheme to an unsafe one."""
        old, new = (urlsplit(url).scheme.lower() for url in (req.full_url, newurl))
        if new not in ("https", old):
            raise UnreachableError(f"{req.full_url}: redirects to {newurl}, which does not use {old}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)
