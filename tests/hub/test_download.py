"""Downloads are complete or absent, whatever the server and the network do."""

import hashlib
import socket
import subprocess
from email.message import Message
from pathlib import Path
from urllib.request import Request

import pytest

from cascade_rcnn.errors import UserError
from cascade_rcnn.hub import download as module
from cascade_rcnn.hub.download import Patience, RejectedError, UnreachableError, download, matches

DATA = bytes(range(256)) * 300
DIGEST = ("sha256", hashlib.sha256(DATA).hexdigest()[:8])
QUICK = Patience(timeout=0.3, tries=3, pause=0.01, most=10 * len(DATA))


@pytest.fixture
def url(site):
    site.files["/x.pth"] = DATA
    return f"{site.host}/x.pth"


@pytest.fixture
def file(tmp_path) -> Path:
    return tmp_path / "folder" / "x.pth"


def only(file: Path) -> None:
    """Check that the folder contains only the file, and that it is complete."""
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    assert file.read_bytes() == DATA


def test_a_file_comes_and_is_reported(site, url, file):
    seen = []
    download(url, file, DIGEST, report=lambda done, total: seen.append((done, total)), patience=QUICK)
    only(file)
    assert seen[0] == (0, len(DATA))
    assert seen[-1] == (len(DATA), len(DATA))
    assert len(site.headers) == 1


def test_redirections_are_followed(site, url, file):
    site.plan = ["redirect /x.pth", f"redirect {url}"]
    download(url, file, DIGEST, patience=QUICK)
    only(file)


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher:x"])
def test_redirections_elsewhere_are_refused(site, url, file, target):
    site.plan = [f"redirect {target}"]
    with pytest.raises(
        UnreachableError, match=f"redirects to {target}, which does not use http|'{target}' is not allowed"
    ):
        download(url, file, patience=QUICK)
    assert not file.exists()


def test_no_redirection_leaves_encryption():
    request = Request("https://a.example/x")
    with pytest.raises(UnreachableError, match="does not use https"):
        module._Redirects().redirect_request(request, None, 302, "", Message(), "http://a.example/x")
    followed = module._Redirects().redirect_request(Request("http://a/x"), None, 302, "", Message(), "https://b/x")
    assert followed.full_url == "https://b/x"


def test_endless_redirections_end(site, url, file):
    site.plan = ["redirect /x.pth"] * 50
    with pytest.raises(UnreachableError, match="302") as caught:
        download(url, file, patience=QUICK)
    assert len(str(caught.value).splitlines()) == 1
    assert len(site.headers) < 10


def test_what_breaks_off_is_continued_where_it_was(site, url, file):
    site.versions["/x.pth"] = '"one"'
    site.plan = ["cut", "cut"]
    download(url, file, DIGEST, patience=QUICK)
    only(file)
    half = len(DATA) // 2
    assert [asked.get("Range") for asked in site.headers] == [None, f"bytes={half}-", f"bytes={half + half // 2}-"]
    assert [asked.get("If-Range") for asked in site.headers] == [None, '"one"', '"one"']
    assert site.sent == len(DATA)


def test_the_next_call_continues_too(site, url, file):
    site.plan = ["cut", "503", "503"]
    with pytest.raises(UnreachableError, match="failed 3 times, last with: the server responded with 503"):
        download(url, file, DIGEST, patience=QUICK)
    assert not file.exists()
    download(url, file, DIGEST, patience=QUICK)
    only(file)
    assert site.sent == len(DATA)


def test_a_file_that_changes_meanwhile_is_downloaded_again(site, url, file):
    site.versions["/x.pth"], site.files["/x.pth"] = '"one"', b"old" * 1000
    site.plan = ["cut", "503", "503"]
    with pytest.raises(UnreachableError):
        download(url, file, patience=QUICK)
    site.versions["/x.pth"], site.files["/x.pth"] = '"two"', DATA
    download(url, file, patience=QUICK)  # without a hash, only the version can tell
    only(file)


def test_a_part_of_unknown_origin_is_found_out_by_the_hash(site, url, file):
    file.parent.mkdir()
    file.with_name("x.pth.part").write_bytes(b"something else")
    download(url, file, DIGEST, patience=QUICK)
    only(file)


def test_a_server_without_ranges_starts_over(site, url, file):
    site.ranges, site.plan = False, ["cut"]
    download(url, file, DIGEST, patience=QUICK)
    only(file)
    assert site.sent == len(DATA) + len(DATA) // 2


def test_all_that_was_missing_was_the_last_rename(site, url, file):
    file.parent.mkdir()
    file.with_name("x.pth.part").write_bytes(DATA)
    download(url, file, DIGEST, patience=QUICK)
    only(file)
    assert site.sent == 0


def test_a_part_longer_than_the_file_is_dropped(site, url, file):
    file.parent.mkdir()
    file.with_name("x.pth.part").write_bytes(DATA + b"more")
    download(url, file, DIGEST, patience=QUICK)
    only(file)


def test_another_file_is_rejected_and_kept_aside(site, url, file):
    site.files["/x.pth"] = b"<html>log in to this network</html>"
    with pytest.raises(
        RejectedError, match=rf"rejected-x\.pth: downloaded from {url}, but its sha256 does not begin with"
    ) as caught:
        download(url, file, DIGEST, patience=QUICK)
    assert len(str(caught.value).splitlines()) == 1
    assert [path.name for path in file.parent.iterdir()] == ["rejected-x.pth"]


def test_a_missing_file_is_reported_at_once(site, file):
    with pytest.raises(UnreachableError, match="the server responded with 404"):
        download(f"{site.host}/none.pth", file, patience=QUICK)
    assert len(site.headers) == 1


def test_a_busy_server_is_asked_again(site, url, file):
    site.plan = ["503", "429"]
    download(url, file, DIGEST, patience=QUICK)
    only(file)


def test_a_stalled_server_is_left_and_asked_for_the_rest(site, url, file):
    site.plan = ["stall"]
    download(url, file, DIGEST, patience=QUICK)
    only(file)
    assert site.sent == len(DATA)


def test_a_slow_server_is_waited_for(site, url, file):
    site.plan = ["slow"]
    download(url, file, DIGEST, patience=QUICK)
    only(file)
    assert len(site.headers) == 1


def test_too_large_a_file_is_refused_before_it_comes(site, url, file):
    with pytest.raises(UserError, match=f"{len(DATA)} bytes, more than the limit of 1000"):
        download(url, file, patience=Patience(tries=1, most=1000))
    assert not file.exists()


def test_a_file_without_end_is_stopped(site, url, file):
    site.plan = ["endless"]
    with pytest.raises(UserError, match=f"more than {QUICK.most} bytes were sent"):
        download(url, file, patience=QUICK)
    assert not file.exists()


def test_an_absent_server_is_reported_at_once(file):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        with pytest.raises(UnreachableError, match=r"cannot be reached .*refused"):
            download(f"http://127.0.0.1:{taken.getsockname()[1]}/x", file, patience=Patience(pause=60))


def test_too_little_room_is_reported_before_the_download(site, url, file, monkeypatch):
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: _usage(1000))
    with pytest.raises(
        UserError, match=r"folder: cannot be written \(0 MB remain to be downloaded, 0 MB are free\); free some space"
    ):
        download(url, file, patience=QUICK)


def _usage(free: int):
    return type("Usage", (), {"free": free})


def test_a_full_disk_keeps_what_has_come(site, url, tmp_path, monkeypatch):
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", small], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        monkeypatch.setattr(module.shutil, "disk_usage", lambda path: _usage(10**9))  # another process takes the space
        with pytest.raises(UserError, match="cannot be written \\(No space left on device\\); free some space, or set"):
            download(url, small / "x.pth", DIGEST, patience=QUICK)
        came = (small / "x.pth.part").stat().st_size
        assert 0 < came < len(DATA)
        subprocess.run(["mount", "-o", "remount,size=1m", small], check=True)
        download(url, small / "x.pth", DIGEST, patience=QUICK)
        only(small / "x.pth")
        assert site.headers[-1]["Range"] == f"bytes={came}-"
    finally:
        subprocess.run(["umount", small], check=True)


def test_hashes_by_their_first_digits(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert matches(tmp_path / "x", ("md5", "900150"))
    assert matches(tmp_path / "x", ("sha256", "ba7816bf"))
    assert not matches(tmp_path / "x", ("sha256", "900150"))
