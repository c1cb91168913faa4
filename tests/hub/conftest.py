"""A local server that stands in for the publishers' hosts, working or failing."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest


@dataclass
class Site:
    """A site's files by path, planned answers to the next requests (default "serve"), and a record of the requests."""

    host: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    plan: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)  # ETags by path
    ranges: bool = True
    headers: list[Message] = field(default_factory=list)  # of the requests
    sent: int = 0  # bytes


class _Handler(BaseHTTPRequestHandler):
    site: Site

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def do_GET(self) -> None:
        self.site.headers.append(self.headers)
        how, _, what = (self.site.plan.pop(0) if self.site.plan else "serve").partition(" ")
        data = self.site.files.get(self.path)
        if how == "redirect":
            self.send_response(302)
            self.send_header("Location", what)
            self.end_headers()
        elif how.isdecimal() or data is None:
            self.send_error(int(how) if how.isdecimal() else 404)
        else:
            self._send(data, how)

    def _send(self, data: bytes, how: str) -> None:
        start, version = self._start(), self.site.versions.get(self.path)
        if start and start >= len(data):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(data)}")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        if version:
            self.send_header("ETag", version)
        if how != "endless":
            self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        self._write(data[start:], how)

    def _start(self) -> int:
        """Return where the answer starts: ranges apply only where they are supported and the file has not changed."""
        wanted = self.headers.get("Range")
        same = self.headers.get("If-Range") in (None, self.site.versions.get(self.path))
        return int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and same and self.site.ranges else 0

    def _write(self, data: bytes, how: str) -> None:
        half = data[: len(data) // 2]
        try:
            if how == "slow":
                for k in range(0, len(data), max(len(data) // 5, 1)):
                    self._out(data[k : k + max(len(data) // 5, 1)])
                    time.sleep(0.02)
            elif how == "endless":
                while True:
                    self._out(data)
            else:
                self._out(data if how == "serve" else half)
            if how == "stall":
                time.sleep(0.6)
        except OSError:  # the client has disconnected
            pass

    def _out(self, data: bytes) -> None:
        self.site.sent += len(data)  # before the client can have read it
        self.wfile.write(data)
        self.wfile.flush()


@pytest.fixture
def site() -> Iterator[Site]:
    known = Site()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"site": known}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    known.host = f"http://127.0.0.1:{server.server_address[1]}"
    yield known
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Set and return an empty cache folder."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("CASCADE_RCNN_CACHE", str(folder))
    monkeypatch.delenv("CASCADE_RCNN_OFFLINE", raising=False)
    return folder
