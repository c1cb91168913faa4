"""Local web page for trying out a detector."""

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from threading import Event
from typing import Any

from cascade_rcnn.api.predict import predict_files
from cascade_rcnn.arguments import as_list, check_number
from cascade_rcnn.devices import choose_device
from cascade_rcnn.errors import UserError
from cascade_rcnn.models.checkpoint import load
from cascade_rcnn.models.detector import Detector
from cascade_rcnn.runtime import is_exported
from cascade_rcnn.webapp.page import build_page, check_address, load_gradio, serve
from cascade_rcnn.webapp.session import Named


def app(
    models: str | Path | Detector | Sequence[str | Path | Detector],
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    device: str | None = None,
    min_size: int | None = None,
    video_step: int = 5,
) -> None:
    """Serve a web page for detecting objects in images and videos, until Ctrl-C.

    It shows the detections above a threshold, the boxes after each stage of the cascade, and the results as JSON.
    `models` is a checkpoint or detector, or a sequence of one or two; two are compared side by side. `device` and
    `min_size` (short side in pixels) apply to checkpoints. The page is only reachable from this machine, unless `host`
    is "0.0.0.0". Every `video_step`-th frame of a video is processed. No data leaves the machine. Requires gradio.
    Raises UserError if a model or the address cannot be used.

    >>> app(["starter", "runs/mine/best.safetensors"])  # doctest: +SKIP
    """
    check_number("port", port, 1, 65535, whole=True)
    check_number("video_step", video_step, 1, whole=True)
    load_gradio()
    check_address(host, port)
    given = [models] if isinstance(models, str | Path | Detector) else as_list("models", models)
    if not 1 <= len(given) <= 2:
        raise UserError(f"{len(given)} models given; give one, or two to compare")
    named = [_open(model, device, min_size) for model in given]

    def film(model: Named, video: str, threshold: float, folder: str) -> str:
        predict_files(model.model, [video], output=folder, threshold=threshold, step=video_step)
        return str(Path(folder) / "video.mp4")

    page = serve(build_page(named, film), host, port)
    print(f"http://{host}:{port}  (Ctrl-C to stop)", flush=True)
    try:
        Event().wait()
    except KeyboardInterrupt:
        print("stopped")
    finally:
        page.close(verbose=False)


def _open(model: str | Path | Detector, device: str | None, min_size: int | None) -> Named:
    changes: Any = {} if min_size is None else {"min_size": min_size}
    if isinstance(model, Detector):
        return Named("the model", deepcopy(model).eval() if model.training else model)
    if is_exported(model):
        raise UserError(f"{model}: exported files do not provide the boxes of each stage; give the checkpoint")
    return Named(str(model), load(model, device=choose_device(device), **changes).for_inference())
