"""Layout of the page: uploads, sliders, pictures, table and download."""

import errno
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from cascade_rcnn.engine.prediction.video_frames import is_video
from cascade_rcnn.errors import UserError
from cascade_rcnn.webapp.picture import stage_color, stage_name
from cascade_rcnn.webapp.session import Looked, Named, look, pictures, table, write_json

Film = Callable[[Named, str, float, str], str]  # model, video, threshold, folder -> path of the annotated video

_CSS = """
footer {display: none !important}
.gradio-container {width: 100%; max-width: 1400px !important; margin: auto}
"""
_ABOUT = """# Cascade R-CNN
Upload images or a video. Stage 0 shows the proposals that led to the detections, and each stage refines the boxes of
the previous one. Labels show the score at that stage and the IoU of the box with the final one."""
_MASKS = " Masks belong to the final boxes: the last stage shows them."


def load_gradio() -> Any:
    """Import gradio with its telemetry disabled. Raises UserError if it is not installed."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        return import_module("gradio")
    except ImportError as error:
        raise UserError(f"the app requires gradio ({error}); pip install gradio") from None


def build_page(models: Sequence[Named], film: Film) -> Any:
    """Build the page (a `gradio.Blocks`) for one model, or for several side by side."""
    gr = load_gradio()
    most = max(one.stages for one in models)
    scratch = tempfile.TemporaryDirectory(prefix="cascade-rcnn-")  # a folder for each session; gradio serves copies
    with gr.Blocks(title="Cascade R-CNN", analytics_enabled=False, delete_cache=(600, 3600)) as page:
        gr.Markdown(_ABOUT + _MASKS if any(one.model.config.has_masks for one in models) else _ABOUT)
        looked = gr.State(Looked(traces=[[] for _ in models]), delete_callback=_remove)
        with gr.Row():
            files = gr.File(label="Images or a video", file_count="multiple", elem_id="upload", height=150)
            with gr.Column():
                threshold = gr.Slider(0, 1, 0.5, step=0.01, label="Score threshold", elem_id="threshold")
                stage = gr.Slider(0, most, most, step=1, label="Stage (0: proposals)", elem_id="stage")
                every = gr.Checkbox(label="Show earlier stages too", elem_id="every")
        gr.HTML(_legend(most))
        errors = gr.Markdown(elem_id="errors", visible=False)
        outputs, films = [], []
        with gr.Row():
            for k, one in enumerate(models):
                with gr.Column():
                    gr.Markdown(f"**{one.name}**")
                    outputs.append(_gallery(gr, k))
                    films.append(gr.Video(label="Video", visible=False, elem_id=f"video-{k}"))
                    outputs.append(gr.Dataframe(label="Boxes", interactive=False, visible=False, elem_id=f"table-{k}"))
                    outputs.append(gr.File(label="Download", visible=False, elem_id=f"json-{k}"))

        def upload(given: list[str] | None, threshold: float, old: Looked, progress=gr.Progress()) -> list[Any]:  # noqa: B008
            videos = [path for path in given or [] if is_video(path)]
            folder = old.folder or tempfile.mkdtemp(dir=scratch.name)
            now = look(models, [path for path in given or [] if path not in videos], progress, folder)
            shown = [_film(gr, film, one, videos, threshold, now) for one in models]
            text = "\n\n".join(f"⚠ {line}" for line in dict.fromkeys(now.errors))
            return [now, gr.update(value=text, visible=bool(text)), *shown]

        show, controls = partial(_show, gr, models), [looked, threshold, stage, every]
        uploaded = files.change(upload, [files, threshold, looked], [looked, errors, *films], show_progress="full")
        uploaded.then(show, controls, outputs, show_progress="hidden")  # sliders may have moved meanwhile
        for control in (threshold, stage, every):
            control.change(show, controls, outputs, show_progress="hidden")
    return page


def _remove(looked: Looked) -> None:
    """Delete the files of a session that has ended."""
    if looked.folder:
        shutil.rmtree(looked.folder, ignore_errors=True)


def _legend(last: int) -> str:
    swatch = '<span style="color: {}">&#9632;</span> {}'
    return " &nbsp; ".join(swatch.format(stage_color(stage), stage_name(stage)) for stage in range(last + 1))


def _gallery(gr: Any, k: int) -> Any:
    return gr.Gallery(
        label="Detections",
        elem_id=f"pictures-{k}",
        height=640,
        object_fit="contain",
        preview=True,
        visible=False,
        buttons=["download", "fullscreen"],
    )


def _film(gr: Any, film: Film, model: Named, videos: Sequence[str], threshold: float, looked: Looked) -> Any:
    if not videos:
        return gr.update(value=None, visible=False)
    if len(videos) > 1:
        looked.errors.append("only one video at a time; the first is shown")
    try:
        folder = tempfile.mkdtemp(dir=looked.folder)
        return gr.update(value=film(model, videos[0], threshold, folder), visible=True)
    except UserError as error:
        looked.errors.append(str(error).replace(videos[0], Path(videos[0]).name))
        return gr.update(value=None, visible=False)


def _show(gr: Any, models: Sequence[Named], looked: Looked, threshold: float, stage: int, every: bool) -> list[Any]:
    """Return the pictures, table and results of each model."""
    values, there = [], bool(looked.names)
    for k, one in enumerate(models):
        headings, rows = table(looked, one, k, threshold)
        values += [
            gr.update(value=pictures(looked, models, k, threshold, int(stage), every=every), visible=there),
            gr.update(value={"headers": headings, "data": rows}, visible=there),
            gr.update(value=write_json(looked, one, k, threshold) if there else None, visible=there),
        ]
    return values


def check_address(host: str, port: int) -> None:
    """Raise UserError if the page cannot be served on an address; gradio's own errors do not say why."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        other = "--port" if error.errno in (errno.EADDRINUSE, errno.EACCES) else "--host"
        raise UserError(f"cannot serve on {host}:{port} ({error.strerror}); choose another {other}") from None
    except UnicodeError:
        raise UserError(f"cannot serve on {host}:{port} (not the name of a host); choose another --host") from None


def serve(page: Any, host: str, port: int) -> Any:
    """Start serving the page in the background. Raises UserError if the port is in use."""
    gr = load_gradio()
    theme = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    try:
        page.launch(
            server_name=host,
            server_port=port,
            share=False,
            inbrowser=False,
            quiet=True,
            prevent_thread_lock=True,
            ssr_mode=False,
            footer_links=[],
            show_error=True,
            theme=theme,
            css=_CSS,
        )
    except OSError as error:
        raise UserError(f"cannot serve on {host}:{port} ({error}); choose another --port") from None
    return page
