"""The Hugging Face Hub, simulated by a local server that answers like its file pages."""

import hashlib
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest
import torch

from cascade_rcnn import create_model, load, push_to_hub
from cascade_rcnn.errors import UserError
from cascade_rcnn.hub import huggingface
from cascade_rcnn.models.checkpoint import save

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TINY: dict[str, Any] = {"backbone_width": 8, "pyramid_channels": 8, "head_width": 16, "min_size": 64}


@pytest.fixture
def model():
    return create_model("cascade_rcnn_resnet18_fpn", categories=["cat", "dog"], **TINY)


def test_without_the_library_its_installation_is_described(monkeypatch, model):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for use in (lambda: load("hf://someone/cats"), lambda: push_to_hub(model, "someone/cats")):
        with pytest.raises(UserError, match=r"the Hub needs huggingface_hub; pip install 'cascade-rcnn\[hub\]'"):
            use()


@pytest.mark.parametrize("address", ["hf://", "hf://someone", "hf://some one/cats", "hf://a/b@", "hf:/a/b/"])
def test_odd_addresses(address):
    with pytest.raises(UserError, match="not an address on the Hub; give hf://owner/name"):
        load(address)


class FakeHub:
    """A stand-in for the hub library that records calls."""

    __spec__ = ModuleSpec("huggingface_hub", None)

    def __init__(self, answer: Any = None) -> None:
        self.calls: list[Any] = []
        self.answer = answer
        self.pushed: dict[str, bytes] = {}
        self.has_card = False

    def hf_hub_download(self, *args: Any, **kwargs: Any) -> str:
        self.calls.append((args, kwargs))
        if isinstance(self.answer, Exception):
            raise self.answer
        return str(self.answer)

    def HfApi(self) -> "FakeHub":  # noqa: N802
        return self

    def create_repo(self, repository: str, *, private: bool, exist_ok: bool) -> None:
        if isinstance(self.answer, Exception):
            raise self.answer
        self.calls.append((repository, private, exist_ok))

    def file_exists(self, repository: str, file: str) -> bool:
        return self.has_card

    def upload_folder(self, *, repo_id: str, folder_path: str, commit_message: str) -> None:
        self.pushed = {path.name: path.read_bytes() for path in Path(folder_path).iterdir()}


@pytest.mark.parametrize(
    ("address", "asked", "revision"),
    [
        ("hf://someone/cats", ("someone/cats", "model.safetensors"), None),
        (Path("hf://someone/cats"), ("someone/cats", "model.safetensors"), None),
        ("hf://someone/cats@v1.2", ("someone/cats", "model.safetensors"), "v1.2"),
        ("hf://someone/cats/sub/best.safetensors", ("someone/cats", "sub/best.safetensors"), None),
        ("hf://someone/cats@main/best.safetensors", ("someone/cats", "best.safetensors"), "main"),
        ("hf://someone/cats@new%2Fone/best.safetensors", ("someone/cats", "best.safetensors"), "new/one"),
        ("hf://someone/cats@refs/pr/7", ("someone/cats", "model.safetensors"), "refs/pr/7"),
    ],
)
def test_what_is_asked_for(address, asked, revision, model, tmp_path, monkeypatch):
    save(model, tmp_path / "m.safetensors")
    fake = FakeHub(tmp_path / "m.safetensors")
    monkeypatch.setitem(sys.modules, "huggingface_hub", fake)
    monkeypatch.delenv("CASCADE_RCNN_OFFLINE", raising=False)
    assert load(address).config == model.config
    assert fake.calls[0] == (asked, {"revision": revision, "local_files_only": False})
    monkeypatch.setenv("CASCADE_RCNN_OFFLINE", "1")
    load(address)
    assert fake.calls[-1][1]["local_files_only"] is True


def test_a_refusal_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", FakeHub(OSError("401 Client Error.\nRepository Not Found")))
    with pytest.raises(UserError, match=r"^hf://a/b/model\.safetensors: 401 Client Error\.; check the name") as caught:
        load("hf://a/b")
    with pytest.raises(UserError, match=r"^hf://a/b@new/one/model: 401 Client Error"):  # says how it was read
        load("hf://a/b@new/one/model")
    assert len(str(caught.value).splitlines()) == 1


def test_a_model_goes_there_with_a_card(model, tmp_path, monkeypatch):
    fake = FakeHub()
    monkeypatch.setitem(sys.modules, "huggingface_hub", fake)
    save(model, tmp_path / "m.safetensors")
    assert push_to_hub(tmp_path / "m.safetensors", "someone/cats", private=True) == "hf://someone/cats"
    assert fake.calls == [("someone/cats", True, True)]
    assert fake.pushed.keys() == {"model.safetensors", "README.md"}
    assert 'load("hf://someone/cats")' in fake.pushed["README.md"].decode()
    (tmp_path / "back.safetensors").write_bytes(fake.pushed["model.safetensors"])
    back, here = load(tmp_path / "back.safetensors").state_dict(), model.state_dict()
    assert all(torch.equal(value, here[name]) for name, value in back.items())
    fake.has_card = True
    push_to_hub(model, "someone/cats")
    assert fake.pushed.keys() == {"model.safetensors"}
    fake.answer = OSError("403 Forbidden")
    with pytest.raises(UserError, match="someone/cats: 403 Forbidden; check the name, the network and"):
        push_to_hub(model, "someone/cats")


class _Handler(BaseHTTPRequestHandler):
    data = b""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def do_HEAD(self) -> None:
        known = re.fullmatch(r"/someone/cats/resolve/(main|v1)/model\.safetensors", self.path)
        self.send_response(200 if known else 404)
        if known:
            self.send_header("ETag", f'"{hashlib.sha256(self.data).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Content-Length", str(len(self.data)))
        else:
            self.send_header("X-Error-Code", "EntryNotFound")
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        self.wfile.write(self.data)


@pytest.fixture
def endpoint(monkeypatch, tmp_path, model):
    """Point the real library to a local server."""
    constants = pytest.importorskip("huggingface_hub.constants")
    save(model, tmp_path / "m.safetensors")
    handler = type("Handler", (_Handler,), {"data": (tmp_path / "m.safetensors").read_bytes()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    host = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setattr(constants, "ENDPOINT", host)
    file_download = import_module("huggingface_hub.file_download")
    template = host + "/{repo_id}/resolve/{revision}/{filename}"
    for module in (constants, file_download):  # before version 1, the second has a copy
        monkeypatch.setattr(module, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.delenv("CASCADE_RCNN_OFFLINE", raising=False)
    yield host
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.filterwarnings("default")
def test_with_the_library_itself(endpoint, model, monkeypatch):
    assert load("hf://someone/cats").config == model.config
    assert load("hf://someone/cats@v1").config == model.config
    with pytest.raises(UserError, match=r"hf://someone/cats/other\.safetensors: .*; check the name") as caught:
        load("hf://someone/cats/other.safetensors")
    assert len(str(caught.value).splitlines()) == 1
    monkeypatch.setenv("CASCADE_RCNN_OFFLINE", "1")
    assert load("hf://someone/cats").config == model.config  # from the library's cache
    assert huggingface.fetch("hf://someone/cats").is_file()
    with pytest.raises(UserError, match="check the name"):
        load("hf://someone/dogs")
