"""How do time and memory grow with the batch, proposals, stages, classes and ground-truth boxes?

Each point is a process of its own, which reads weights that another has prepared. With the cost at the smallest, a
middle and the largest value, the exponent of growth is that of cost = fixed + slope * x^exponent: 1 is linear. Where
the cost grows by under a tenth over the whole range, noise is all there is to fit, and the curve counts as flat.
"""

import math
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.measure import Options, Row, Task, fresh, interleaved, options, peak_mb, write

_AXES: dict[str, tuple[str, list[int], list[int]]] = {  # kind of work; values; values of --quick
    "batch": ("inference", [1, 2, 4, 8], [1, 2, 3]),
    "proposals": ("inference", [250, 500, 1000, 2000], [20, 40, 80]),
    "stages": ("inference", [1, 2, 3, 4], [1, 2, 3]),
    "classes": ("inference", [1, 80, 400, 1203], [1, 80, 160]),
    "objects": ("training", [1, 10, 100, 1000], [1, 10, 20]),
}
_MOST = 1.1  # exponent that still counts as linear
_FLAT = 1.1


def main(given: Options) -> None:
    curves: dict[str, dict[str, list[float]]] = {}
    rows = []
    size = (64, 96) if given.quick else (480, 640)
    for axis, (kind, values, quick) in _AXES.items():
        values = quick if given.quick else values
        fixed = {"proposals": 20 if given.quick else 1000, "classes": 80, "stages": 3, "batch": 1, "objects": 8}
        points = [_point(kind, size, fixed | {axis: value}, given) for value in values]
        curves[axis] = {"values": values, **{key: [p[key] for p in points] for key in ("ms", "MB")}}  # type: ignore[dict-item]
        for key in ("ms", "MB"):
            what = f"{kind}, {axis} {values[0]} to {values[-1]}: {curves[axis][key][0]:.0f} to"
            power = exponent(values, curves[axis][key])
            rows.append(
                Row(what=what, value=curves[axis][key][-1], unit=key, ratio=power, against="exponent", bound=_MOST)
            )
    write("scaling", given, rows, curves=curves)
    draw(curves, given.output / "scaling.svg")


def exponent(values: list[int], costs: list[float]) -> float:
    """By the first, a middle and the last point; 0 for a curve that is flat or falls."""
    middle = len(values) // 2
    whole, part = costs[-1] - costs[0], costs[middle] - costs[0]
    if costs[-1] < _FLAT * costs[0]:
        return 0.0
    if part <= 0.02 * whole:  # all growth lies in the last part: compare with what is linear there
        return math.log(costs[-1] / costs[middle]) / math.log(values[-1] / values[middle])
    return math.log(whole / part) / math.log((values[-1] - values[0]) / (values[middle] - values[0]))


def _point(kind: str, size: tuple[int, int], work: dict[str, int], given: Options) -> dict[str, float]:
    """The cost of one choice of everything."""
    network = {name: work[name] for name in ("proposals", "classes", "stages")}
    load = {name: work[name] for name in ("classes", "batch", "objects")}
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/weights.safetensors"
        fresh("scaling:prepare", file=file, size=size, **network)
        timing = {"repeats": given.repeats, "threads": given.threads}
        return fresh("scaling:once", kind=kind, file=file, size=size, **load, **timing)


def prepare(file: str, size: list[int], stages: int, **task: Any) -> None:
    """Write the weights of a ResNet-50 cascade."""
    import cascade_rcnn
    from benchmarks import photo, weights

    work = Task((size[0], size[1]), **task)
    settings = weights.config("cascade_rcnn_resnet50_fpn", work, stages)
    cascade_rcnn.save(weights.calibrated(settings, photo.photograph(work.size)), file)


def once(
    kind: str, file: str, size: list[int], classes: int, batch: int, objects: int, repeats: int, threads: int
) -> dict[str, float]:
    """Median milliseconds and peak megabytes of these weights in this process."""
    import torch

    import cascade_rcnn
    from benchmarks import networks, photo

    torch.set_num_threads(threads)
    network = networks.ours(cascade_rcnn.load(file))
    images = [photo.photograph((size[0], size[1]))] * batch
    if kind == "inference":
        network = networks.for_inference(network)
        return {"ms": 1e3 * interleaved({"run": lambda: network.detect(images)}, repeats)["run"], "MB": peak_mb()}
    targets = [photo.objects((size[0], size[1]), classes, objects)] * batch
    return {"ms": 1e3 * interleaved({"run": lambda: network.step(images, targets)}, repeats)["run"], "MB": peak_mb()}


def draw(curves: dict[str, dict[str, list[float]]], path: Path) -> None:
    """A picture: time above, memory below, one column an axis; dotted: proportional to the largest."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, len(curves), figsize=(3 * len(curves), 5), squeeze=False, layout="constrained")
    for column, (name, curve) in enumerate(curves.items()):
        for row, key in enumerate(("ms", "MB")):
            x, y = curve["values"], curve[key]
            axes[row, column].plot(x, y, marker="o")
            axes[row, column].plot(x, [y[0] + (y[-1] - y[0]) * (v - x[0]) / (x[-1] - x[0]) for v in x], ":")
            axes[row, column].set(ylim=(0, 1.1 * max(y)), xlabel=name, ylabel=key)
    figure.savefig(path)
    pyplot.close(figure)


if __name__ == "__main__":
    main(options(__doc__))
