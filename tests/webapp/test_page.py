"""The page in a browser: upload, sliders, a video, errors, and no requests to other hosts."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from cascade_rcnn import UserError, app, save
from cascade_rcnn.engine.prediction.video_frames import VideoWriter


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_mistakes_are_one_line(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(UserError, match="pip install gradio"):
        app("starter")
    monkeypatch.setitem(sys.modules, "gradio", object())
    with pytest.raises(UserError, match="3 models given; give one, or two to compare"):
        app(["a", "b", "c"])
    for port in (-1, 0, 65536):
        with pytest.raises(UserError, match=f"port is {port}; give 1 to 65535"):
            app("starter", port=port)
    with pytest.raises(UserError, match="do not provide the boxes"):
        app(tmp_path / "model.onnx", port=free_port())


def test_an_address_that_cannot_be_used_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", object())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf":{port} \(Address already in use\); choose another --port"):
            app("missing", port=port)
    for host in ("192.0.2.1", "300.1.2.3", "a..b"):  # of another machine, and none at all
        with pytest.raises(UserError, match=rf"^cannot serve on {host}:7860 \(.*\); choose another --host$"):
            app("missing", host=host)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # from gradio's dependencies
def test_in_a_browser(browser, named, masked, photo, tmp_path):
    pytest.importorskip("gradio")
    from playwright.sync_api import expect

    checkpoint, other = tmp_path / "model.safetensors", tmp_path / "masks.safetensors"
    save(named.model, checkpoint)
    save(masked.model, other)
    text, video = tmp_path / "notes.txt", tmp_path / "film.mp4"
    text.write_text("no image")
    with VideoWriter(video, 10) as writer:
        for k in range(6):
            writer.write(np.full((64, 96, 3), 40 * k, np.uint8), k / 10)
    url = f"http://127.0.0.1:{(port := free_port())}"
    arguments = ["app", "--checkpoint", str(checkpoint), str(other), "--port", str(port)]
    command = [sys.executable, "-m", "cascade_rcnn", *arguments]
    (scratch := tmp_path / "scratch").mkdir()
    own = os.environ | {"TMPDIR": str(scratch)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=own) as server:
        try:
            assert server.stdout is not None
            assert url in server.stdout.readline()
            page = browser.new_page()
            requests: list[str] = []
            page.on("request", lambda request: requests.append(request.url))
            page.goto(url)
            _use(page, expect, photo, text, video)
            (session,) = scratch.glob("cascade-rcnn-*/*")
            assert {path.name for path in session.glob("*.json")} == {"detections-1.json", "detections-2.json"}
            page.close()
            assert requests
            assert [one for one in requests if not one.startswith((url, "data:", "blob:"))] == []
            with pytest.raises(OSError, match="refused"):  # on the machine's other addresses
                urllib.request.urlopen(f"http://127.0.0.2:{port}", timeout=5)
            server.send_signal(2)
            assert server.wait(30) == 0
            assert server.stdout.read() == "stopped\n"
            assert list(scratch.glob("cascade-rcnn-*")) == []
        finally:
            server.kill()


def _use(page, expect, photo: Path, text: Path, video: Path) -> None:
    """Upload a photo, look at both models, move the sliders, download, then upload an invalid image and a video."""
    upload = page.locator("#upload input[type=file]")
    upload.set_input_files([str(photo)])
    caption = "photo.png: stage 3, mean IoU with the final boxes 1.00"
    page.locator("#threshold input[type=number]").fill("0")
    page.locator("#threshold input[type=number]").blur()
    for k in range(2):
        expect(page.locator(f"#pictures-{k}")).to_contain_text(caption, timeout=60_000)
        expect(page.locator(f"#table-{k} tbody tr").first).to_contain_text("photo.png")
    page.set_viewport_size({"width": 420, "height": 900})  # of a phone
    assert page.evaluate("document.documentElement.scrollWidth") == 420
    page.set_viewport_size({"width": 1280, "height": 900})
    before = page.locator("#pictures-0 img").first.get_attribute("src")
    page.locator("#stage input[type=number]").fill("0")
    page.locator("#stage input[type=number]").blur()
    expect(page.locator("#pictures-0")).to_contain_text("photo.png: proposals", timeout=30_000)
    assert page.locator("#pictures-0 img").first.get_attribute("src") != before
    for k, with_masks in enumerate((False, True)):
        with page.expect_download() as download:
            page.locator(f"#json-{k} a[download]").first.click()
        rows = json.loads(Path(download.value.path()).read_text())
        assert ["segmentation" in row for row in rows] == [with_masks] * 5
    page.locator("#upload button[aria-label=Clear]").click()
    upload.set_input_files([str(text)])
    expect(page.locator("#errors")).to_contain_text("notes.txt: cannot open this image", timeout=30_000)
    page.locator("#upload button[aria-label=Clear]").click()
    time.sleep(1)
    upload.set_input_files([str(video)])
    expect(page.locator("#video-1 video")).to_be_visible(timeout=60_000)
    expect(page.locator("#errors")).not_to_be_visible()
