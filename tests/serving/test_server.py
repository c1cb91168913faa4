"""A real server, with worker processes and an HTTP client."""

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from cascade_rcnn import Predictor
from cascade_rcnn.assets import PHOTO

pytest.importorskip("litserve")
pytestmark = pytest.mark.slow


def call(url: str, body: bytes | None = None, kind: str = "application/json") -> tuple[int, bytes]:
    request = urllib.request.Request(url, body, {"Content-Type": kind})
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "cascade_rcnn", "serve", "starter", "--port", str(port), "--batch-size", "4"]
    log = tmp_path_factory.mktemp("serve") / "log"
    with log.open("w") as file:
        process = subprocess.Popen([*command, "--max-megabytes", "2"], stdout=file, stderr=file, text=True)
    try:
        for _ in range(240):
            try:
                if call(f"{url}/health")[0] == 200:
                    break
            except OSError:
                pass
            time.sleep(0.5)
        else:
            pytest.fail(log.read_text())
        yield url, process
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def form(content: bytes, threshold: float) -> tuple[bytes, str]:
    parts = [
        b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n' + content + b"\r\n",
        f'--x\r\nContent-Disposition: form-data; name="threshold"\r\n\r\n{threshold}\r\n--x--\r\n'.encode(),
    ]
    return b"".join(parts), "multipart/form-data; boundary=x"


def test_it_finds_what_the_model_finds(served):
    url, _ = served
    photo = Path(PHOTO).read_bytes()
    found = Predictor("starter")(photo, threshold=0.6)
    as_json = json.dumps({"image": base64.b64encode(photo).decode(), "threshold": 0.6}).encode()
    fields, multipart = form(photo, 0.6)
    for body, kind in (
        (fields, multipart),
        (fields, multipart.replace("multipart/form-data", "Multipart/Form-Data")),
        (as_json, "application/json"),
    ):
        status, answer = call(f"{url}/predict", body, kind)
        assert status == 200, answer
        detections = json.loads(answer)["detections"]
        assert [one["score"] for one in detections] == pytest.approx(found.confidence.tolist(), abs=1e-4)
        x, y, w, h = detections[0]["bbox"]
        assert [x, y, x + w, y + h] == pytest.approx(found.xyxy[0].tolist(), abs=0.05)
        assert detections[0]["category_name"] == "person"


def test_hostile_requests_get_their_own_answer(served):
    url, _ = served
    bomb = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(64)).decode()
    for body, kind, status in [
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (json.dumps({"image": bomb}).encode(), "application/json", 422),
        (json.dumps({"image": 5}).encode(), "application/json", 400),
        (b"--x--", "multipart/form-data; boundary=x", 400),
        (b"--x", "multipart/form-data", 400),
        (b"x" * 3_000_000, "application/json", 413),
        (b"x", "text/plain", 415),
    ]:
        found, answer = call(f"{url}/predict", body, kind)
        assert found == status, answer
        assert b"Traceback" not in answer
    assert call(f"{url}/health")[0] == 200
    metrics = call(f"{url}/metrics")[1].decode()
    assert 'cascade_rcnn_requests_total{status="413"} 1.0' in metrics


def children(process) -> dict[int, bytes]:
    """Return the command lines of the processes that a process has started, by their ids."""
    return {
        int(path.parent.name): path.with_name("cmdline").read_bytes()
        for path in Path("/proc").glob("[0-9]*/stat")
        if path.read_text().rpartition(")")[2].split()[1] == str(process.pid)
    }


def test_a_worker_that_dies_is_started_again(served):
    url, process = served
    photo = Path(PHOTO).read_bytes()
    (worker,) = [number for number, line in children(process).items() if b"spawn_main" in line]
    os.kill(worker, signal.SIGKILL)
    for _ in range(60):
        time.sleep(1)
        try:
            if call(f"{url}/predict", *form(photo, 0.5))[0] == 200:
                return
        except OSError:
            continue
    pytest.fail("no answer after the worker died")


def test_the_service_ends_if_its_http_server_dies(served):
    """It comes last, as nothing can be asked afterwards."""
    _, process = served
    forked = [number for number, line in children(process).items() if b"serve\0starter" in line]
    os.kill(max(forked), signal.SIGKILL)  # the other one, LitServe's manager of shared objects, was started before
    assert process.wait(60) == 1
