"""The command `cascade-rcnn serve`."""

from cascade_rcnn.commands.parameters import Positional, Precision
from cascade_rcnn.extras import needs


def serve(
    checkpoint: Positional[str],
    /,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    workers: int = 1,
    batch_size: int | None = None,
    batch_wait: float = 0.01,
    threshold: float = 0.5,
    precision: Precision = "fp32",
    device: str | None = None,
    max_megabytes: float = 20,
    max_megapixels: float = 50,
    timeout: float = 30,
    trust: bool = False,
) -> None:
    """Serve a model over HTTP: it receives images and returns detections as COCO json.

    Args:
        checkpoint: The model: a checkpoint or an exported file.
        host: Address to listen on: 127.0.0.1 (this machine only), or 0.0.0.0 or :: (all interfaces).
        port: Port to listen on.
        workers: Processes per device, each with a copy of the model and its share of the cores.
        batch_size: Images per step of a worker; default: 8 on a GPU, 1 on a CPU.
        batch_wait: Maximum time to wait for a batch to fill, in seconds.
        threshold: Minimum score of detections, unless a request sets one.
        precision: Precision of the network.
        device: cpu, cuda, cuda:1; default: all GPUs if there are any.
        max_megabytes: Maximum size of a request, in megabytes.
        max_megapixels: Maximum size of an image, in megapixels.
        timeout: Seconds after which an unanswered request fails.
        trust: Allow opening a .pt2 file, which can run arbitrary code.
    """
    needs("`serve`", "serve", "litserve", "prometheus_client", "python_multipart")
    from cascade_rcnn.serving import serve as run

    run(
        checkpoint,
        host=host,
        port=port,
        workers=workers,
        batch_size=batch_size,
        batch_wait=batch_wait,
        threshold=threshold,
        precision=precision,
        device=device,
        max_megabytes=max_megabytes,
        max_megapixels=max_megapixels,
        timeout=timeout,
        trust=trust,
    )
