"""The service: one HTTP server in front of workers, each with its own model."""

import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any

import litserve
import torch

from cascade_rcnn.arguments import as_path, check_choice, check_number
from cascade_rcnn.devices import choose_device
from cascade_rcnn.engine.interrupt import deaf
from cascade_rcnn.engine.predictor import Precision, Predictor
from cascade_rcnn.errors import UserError
from cascade_rcnn.models.checkpoint import locate
from cascade_rcnn.results import check_reach
from cascade_rcnn.runtime import is_exported
from cascade_rcnn.serving.api import DetectionAPI
from cascade_rcnn.serving.guard import Guard

_HOSTS = ("127.0.0.1", "0.0.0.0", "::")  # those that LitServe accepts
_DEVICES = ("cpu", "cuda")  # kinds that the workers can use
_WAITING = 2048  # connections before they are accepted, as in uvicorn
_WATCHED = 1.0  # seconds between looks at the HTTP server's process
_LEAST = 1e-3  # of limits, which at 0 would refuse every request


class _Server(litserve.LitServer):
    """A server that Ctrl-C also ends while its workers start: they ignore it from the beginning."""

    def launch_inference_worker(self, lit_api: litserve.LitAPI) -> list[Any]:
        with deaf():
            return super().launch_inference_worker(lit_api)

    def verify_worker_status(self) -> None:
        try:
            super().verify_worker_status()
        except BaseException:  # LitServe would wait for workers that miss its queues
            for worker in self.inference_workers:
                worker.terminate()
            raise


def make_server(
    checkpoint: str | Path,
    *,
    workers: int = 1,
    batch_size: int | None = None,
    batch_wait: float = 0.01,
    threshold: float = 0.5,
    precision: Precision = "fp32",
    trust: bool = False,
    device: str | None = None,
    max_megabytes: float = 20,
    max_megapixels: float = 50,
    timeout: float = 30,
) -> litserve.LitServer:
    """Make a LitServe server for `POST /predict` (see `DetectionAPI`), `/health` and `/metrics`.

    `workers` processes per device each hold a model and share the CPU's cores. Waiting requests are processed in
    batches of up to `batch_size` (default: 8 on a GPU, and 1 on a CPU, where batches gain nothing), after at most
    `batch_wait` seconds. A request is rejected if it exceeds `max_megabytes`, if its image exceeds `max_megapixels`, or
    if it waits for more than `timeout` seconds. Workers that die are restarted. Raises UserError for a model that
    cannot be opened, and for a device that cannot be used here, or is not cpu, cuda (all GPUs) or a GPU such as cuda:1.
    """
    check_number("workers", workers, 1, whole=True)
    if batch_size is not None:
        check_number("batch_size", batch_size, 1, whole=True)
    check_number("batch_wait", batch_wait, 0)
    check_number("threshold", threshold, 0, 1)
    for name, value in (("max_megabytes", max_megabytes), ("max_megapixels", max_megapixels), ("timeout", timeout)):
        check_number(name, value, _LEAST)
    exported = is_exported(as_path("checkpoint", checkpoint))
    target = torch.device("cpu") if exported else _device(device)
    weights = Path(checkpoint) if exported else locate(str(checkpoint))
    # Opened here first, on the CPU, because a worker would answer a mistake with a traceback.
    opened = Predictor(weights, device=device if exported else "cpu", precision=precision, trust=trust)
    for note in check_reach(threshold, opened.config.inference.score_threshold):
        print(f"note: {note}", file=sys.stderr)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    api = DetectionAPI(
        weights.absolute(),
        threshold=threshold,
        precision=precision,
        trust=trust,
        max_megapixels=max_megapixels,
        batch_size=(1 if target.type == "cpu" else 8) if batch_size is None else batch_size,
        batch_wait=batch_wait,
        threads=max(1, cores // workers) if target.type == "cpu" else None,
    )
    return _Server(
        api,
        accelerator=target.type,  # type: ignore[arg-type]
        devices=torch.cuda.device_count() if target.index is None else [target.index],  # type: ignore[arg-type]
        workers_per_device=workers,
        timeout=timeout,
        middlewares=[(Guard, {"max_bytes": int(max_megabytes * 1e6), "timeout": timeout + 5})],
        restart_workers=True,
        disable_openapi_url=True,
    )


def _device(name: str | None) -> torch.device:
    """Return the device of the workers; cuda without an index stands for all GPUs. Raises UserError for any other."""
    if name is not None:
        check_choice("device", str(name).partition(":")[0], _DEVICES)
    return choose_device(name)


def serve(checkpoint: str | Path, *, host: str = "127.0.0.1", port: int = 8000, **settings: Any) -> None:
    """Print the address and serve until interrupted; `settings` are those of `make_server`.

    By default, only this machine can connect. Raises UserError for an address or port on which the server cannot
    listen.
    """
    check_choice("host", host, _HOSTS)
    check_number("port", port, 1024, 65535, whole=True)
    with _listening(host, port) as taken:
        server = make_server(checkpoint, **settings)
        print(f"http://{host}:{port}/predict  (also /health, /metrics; Ctrl-C to stop)", flush=True)
        os.register_at_fork(after_in_child=_default_signals)
        ended, lost = threading.Event(), threading.Event()
        threading.Thread(target=_watch, args=(ended, lost), daemon=True).start()
        try:
            server.run(
                host=host,
                port=port,
                num_api_servers=1,
                log_level="warning",
                generate_client_file=False,
                fd=taken.fileno(),  # of uvicorn
            )
        finally:  # LitServe watches the workers in a thread, which reports an error when it outlives what it asks
            logging.getLogger("litserve").setLevel(logging.CRITICAL)
            ended.set()
            if lost.is_set():  # after which LitServe may also fail to end its other processes
                raise UserError("a process that passes on HTTP requests has died; start the service again") from None


def _watch(ended: threading.Event, lost: threading.Event) -> None:
    """Stop the service, as Ctrl-C does, if the process of its HTTP server or queues dies, unnoticed by LitServe."""
    known: set[str] = set()
    while not ended.wait(_WATCHED):
        alive = {one.name for one in multiprocessing.active_children()}
        if any(name.startswith(("LitServer-", "SyncManager-")) for name in known - alive):
            lost.set()
            os.kill(os.getpid(), signal.SIGINT)
            return
        known = alive


def _listening(host: str, port: int) -> socket.socket:
    """Take a port before the model is loaded: a second service would find it free until the first one listens."""
    taken = socket.socket(socket.AF_INET6 if host == "::" else socket.AF_INET)
    try:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # connections inherit it
        taken.bind((host, port))
        taken.listen(_WAITING)
    except OSError as error:
        taken.close()
        raise UserError(f"port {port}: {error.strerror}; give another --port") from None
    return taken


def _default_signals() -> None:
    """Let Ctrl-C end the HTTP server's process without a traceback: it raises the signal again after shutting down."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
