"""Mistakes are reported in one line, before anything is printed or started."""

import os
import signal
import socket
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

pytest.importorskip("litserve")

import litserve

from cascade_rcnn.assets import STARTER
from cascade_rcnn.cli import main
from cascade_rcnn.errors import UserError
from cascade_rcnn.serving import make_server, serve


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Return the only line that `serve` prints, on stderr."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(SystemExit) as stopped:
        main(["serve", *map(str, arguments), "--port", str(port)])
    assert stopped.value.code == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    return said.err


@pytest.fixture(autouse=True)
def _nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(litserve.LitServer, "run", lambda *_, **__: pytest.fail("the service started"))


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("gpu", "device is 'gpu'; give cpu, cuda"),
        ("mps", "device is 'mps'; give cpu, cuda"),
        ("cuda:x", "device cuda:x: cannot be used here"),
        ("cuda:99", "device cuda:99: cannot be used here"),
    ],
)
def test_devices_that_cannot_serve(capsys, device, message):
    assert message in refused(capsys, "starter", "--device", device)


def test_a_gpu_that_is_not_there(capsys):
    if torch.cuda.is_available():
        pytest.skip("there is one")
    assert "device cuda: cannot be used here" in refused(capsys, "starter", "--device", "cuda")


def test_files_that_cannot_be_opened(capsys, tmp_path):
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(Path(STARTER).read_bytes()[:-1000])
    assert f"{cut}: not a readable checkpoint" in refused(capsys, cut)
    for name in ("damaged.onnx", "program.pt2"):
        (tmp_path / name).write_bytes(b"rubbish" * 100)
    assert "damaged.onnx: not a readable exported model" in refused(capsys, tmp_path / "damaged.onnx")
    assert "program.pt2: a .pt2 file is a program" in refused(capsys, tmp_path / "program.pt2")
    assert "no such file" in refused(capsys, tmp_path / "missing.onnx")
    for setting in (("--precision", "bf16"), ("--device", "cuda:1")):
        fixed = refused(capsys, tmp_path / "damaged.onnx", *setting)
        assert f"{setting[0][2:]} cannot be set for an exported file; omit it, or give the checkpoint" in fixed


def test_weights_that_do_not_fit_are_found_before_a_worker_loads_them(tmp_path):
    with safe_open(STARTER, framework="pt") as file:
        metadata = file.metadata()
    save_file({"other": torch.zeros(1)}, tmp_path / "other.safetensors", metadata=metadata)
    with pytest.raises(UserError, match="its weights do not fit its config"):
        make_server(tmp_path / "other.safetensors")


@pytest.mark.parametrize(
    ("device", "devices", "batch_size"),
    [("cpu", ["cpu"], 1), ("cpu:0", ["cpu"], 1), ("cuda", ["cuda:0", "cuda:1"], 8), ("cuda:1", ["cuda:1"], 8)],
)
def test_the_workers_run_on_the_given_devices(monkeypatch, device, devices, batch_size):
    monkeypatch.setattr("cascade_rcnn.serving.server.choose_device", torch.device)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    server = make_server("starter", device=device)
    assert np.ravel(server.devices).tolist() == devices
    (api,) = server.litapi_connector.lit_apis
    assert api.max_batch_size == batch_size


def test_a_threshold_out_of_the_models_reach_is_noted(capsys):
    make_server("starter", threshold=1e-4)
    assert "note: a threshold of 0.0001 finds no more than 0.001, the model's own" in capsys.readouterr().err
    make_server("starter", threshold=0.5)
    assert capsys.readouterr().err == ""


def test_a_port_is_taken_before_the_model_is_loaded(monkeypatch, capsys):
    """Otherwise, of two services that start together, the second one would print the address of the first."""

    def slow(*_, **__):
        with socket.create_connection(("127.0.0.1", port)):
            pass
        with pytest.raises(UserError, match=f"port {port}: .*; give another --port"):
            serve("starter", port=port)
        raise UserError("done")

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setattr("cascade_rcnn.serving.server.make_server", slow)
    for _ in range(2):  # and it is free again after a failure
        with pytest.raises(UserError, match="done"):
            serve("starter", port=port)
    assert capsys.readouterr().out == ""


def test_the_http_server_gets_the_port_that_was_taken(monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def run(_, *, fd, **__):
        with socket.socket(fileno=os.dup(fd)) as taken:
            assert taken.getsockname() == ("127.0.0.1", port)
            with socket.create_connection(("127.0.0.1", port)), taken.accept()[0] as connection:
                assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    monkeypatch.setattr(litserve.LitServer, "run", run)
    monkeypatch.setattr(os, "register_at_fork", lambda **_: None)
    serve("starter", port=port)


def test_workers_ignore_ctrl_c_while_they_start(monkeypatch):
    handlers = []

    def launch(*_):
        handlers.append(signal.getsignal(signal.SIGINT))

    monkeypatch.setattr(litserve.LitServer, "launch_inference_worker", launch)
    server = make_server("starter", device="cpu")
    server.launch_inference_worker(server.litapi_connector.lit_apis[0])
    assert handlers == [signal.SIG_IGN] != [signal.getsignal(signal.SIGINT)]


def test_ctrl_c_while_workers_start_ends_them(monkeypatch):
    def stopped(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(litserve.LitServer, "verify_worker_status", stopped)
    server = make_server("starter", device="cpu")
    ended = []
    server.inference_workers = [SimpleNamespace(terminate=lambda: ended.append(1))]
    with pytest.raises(KeyboardInterrupt):
        server.verify_worker_status()
    assert ended == [1]


@pytest.mark.parametrize("process", ["LitServer-1", "SyncManager-1"])
def test_a_process_that_dies_is_what_is_reported(monkeypatch, process):
    """Not the interruption that ends the service then, nor what fails in ending it."""
    alive = iter([[SimpleNamespace(name=process)], []])
    stopped = threading.Event()

    def run(*_, **__):
        assert stopped.wait(10)
        raise KeyboardInterrupt

    monkeypatch.setattr("cascade_rcnn.serving.server._WATCHED", 0.01)
    monkeypatch.setattr("multiprocessing.active_children", lambda: next(alive))
    monkeypatch.setattr(os, "kill", lambda *_: stopped.set())
    monkeypatch.setattr(os, "register_at_fork", lambda **_: None)
    monkeypatch.setattr(litserve.LitServer, "run", run)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(UserError, match="a process that passes on HTTP requests has died; start the service again"):
        serve("starter", port=port)
