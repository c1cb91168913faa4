"""What does a backbone cost? Rows for docs/backbones.md: parameters, GFLOPs, time and peak memory of a cascade with it.

`python -m benchmarks.backbones resnet50 timm/convnext_tiny` measures each in a separate process, on two threads.
`--step` measures the time and peak memory of a training step, without and with checkpointing.
"""

import argparse
import statistics
from typing import Any

from benchmarks.measure import fresh, peak_mb, seconds

_RUNS, _CLASSES = 3, 80


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("backbones", nargs="+", help="as create_model takes them")
    parser.add_argument("--size", type=int, nargs=2, default=(800, 1333), help="height and width of the image")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--step", action="store_true", help="a training step instead of inference")
    given = parser.parse_args(arguments)
    common = {"size": given.size, "threads": given.threads}
    for name in given.backbones:
        if given.step:
            for checkpointing in (False, True):
                found = fresh(step, backbone=name, checkpointing=checkpointing, **common)
                print(f"{name}, checkpointing={checkpointing}: {found['seconds']:.1f} s, {found['peak']:.0f} MB")
            continue
        timed = fresh(inference, backbone=name, **common)
        size = fresh(cost, backbone=name, **common)
        figures = (
            f"{size['parameters']:.1f}, {size['own_parameters']:.1f}",
            f"{size['gflops']:.0f}, {size['own']:.0f}",
        )
        print(f"| `{name}` | {' | '.join(figures)} | {1000 * timed['seconds']:.0f} | {timed['peak']:.0f} |", flush=True)


def inference(backbone: str, size: tuple[int, int], threads: int, options: Any = None) -> dict[str, float]:
    """Return the median seconds per image, and the peak memory of the process."""
    import torch

    torch.set_num_threads(threads)
    model, image = _model(backbone, options), torch.rand(3, *size)
    with torch.inference_mode():
        times = [seconds(lambda: model([image])) for _ in range(1 + _RUNS)]
    return {"seconds": statistics.median(times[1:]), "peak": peak_mb()}


def cost(backbone: str, size: tuple[int, int], threads: int, options: Any = None) -> dict[str, float]:
    """Return millions of parameters, and GFLOPs without RoI pooling; a multiplication and an addition count as two."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    torch.set_num_threads(threads)
    model = _model(backbone, options)
    with torch.inference_mode(), FlopCounterMode(display=False, depth=2) as counter:
        model([torch.rand(3, *size)])
    counts = {name: sum(flops.values()) / 1e9 for name, flops in counter.get_flop_counts().items()}
    return {
        "parameters": sum(p.numel() for p in model.parameters()) / 1e6,
        "own_parameters": sum(p.numel() for p in model.backbone.parameters()) / 1e6,
        "gflops": counts["Global"],
        "own": counts["Detector.backbone"],
    }


def step(
    backbone: str, size: tuple[int, int], threads: int, checkpointing: bool, options: Any = None
) -> dict[str, float]:
    """Return the seconds of the second training step with one image, and the peak memory of the process."""
    import torch

    from cascade_rcnn import create_model

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    given: dict[str, Any] = {"checkpointing": checkpointing} | (options or {})
    model = create_model("cascade_rcnn_fpn", _CLASSES, backbone=backbone, **given)
    height, width = size
    boxes = torch.tensor([[0.1, 0.1, 0.4, 0.6], [0.3, 0.2, 0.7, 0.6]]) * torch.tensor([width, height, width, height])
    target = {"boxes": boxes, "labels": torch.tensor([1, 3])}

    def once() -> None:
        torch.stack(list(model([torch.rand(3, *size)], [target]).values())).sum().backward()
        model.zero_grad()

    return {"seconds": [seconds(once) for _ in range(2)][-1], "peak": peak_mb()}


def _model(backbone: str, options: Any) -> Any:
    """Build a cascade for inference with random weights, and normalisation statistics that keep values in range."""
    import torch
    from torch.nn.modules.batchnorm import _BatchNorm

    from cascade_rcnn import create_model

    torch.manual_seed(0)
    given: dict[str, Any] = options or {}
    if backbone.startswith("cascade_rcnn_"):  # a model whose backbone can only be chosen by its name
        model = create_model(backbone, _CLASSES, **given)
    else:
        model = create_model("cascade_rcnn_fpn", _CLASSES, backbone=backbone, **given)
    for module in model.backbone.modules():
        if isinstance(module, _BatchNorm):
            module.momentum = None  # the mean over the batches
    with torch.no_grad():
        for _ in range(2):
            model.backbone(torch.randn(2, 3, 224, 224))
    return model.eval().for_inference()


if __name__ == "__main__":
    main()
