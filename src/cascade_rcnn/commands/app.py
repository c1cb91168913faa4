"""The command `cascade-rcnn app`."""

from pathlib import Path


def app(
    *,
    checkpoint: tuple[Path, ...],
    host: str = "127.0.0.1",
    port: int = 7860,
    device: str | None = None,
    min_size: int | None = None,
    video_step: int = 5,
) -> None:
    """Serve a local web page that shows what each stage does to the boxes of your images, or compares two models.

    Args:
        checkpoint: The model, or two to compare.
        host: Address to serve on; the default is only reachable from this machine, 0.0.0.0 also from the network.
        port: Port to serve on.
        device: cpu, cuda, cuda:1 or mps; default: cuda if available, else cpu.
        min_size: Short side to resize images to; default: the model's own setting.
        video_step: Process every N-th frame of a video.
    """
    from cascade_rcnn.api.app import app as serve

    serve(checkpoint, host=host, port=port, device=device, min_size=min_size, video_step=video_step)
