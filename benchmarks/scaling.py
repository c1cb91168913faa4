"""How do time and memory grow with pixels, batch size, proposals, stages, classes and boxes, and with threads shrink?

Each point is measured in a separate process, which reads weights that another process has prepared. The exponent of
growth is that of cost = fixed + slope * x^exponent, fitted to all points by least squares; 1 is linear. If the cost
grows by less than a tenth over the whole range, a fit would only fit noise, and the curve counts as flat.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import Options, Row, Task, fresh, interleaved, options, peak_mb, write

_AXES: dict[str, tuple[str, list[int], list[int]]] = {  # kind of work; values; values of --quick
    "kilopixels": ("inference", [77, 307, 691, 1229], [6, 12, 24]),
    "batch": ("inference", [1, 2, 4, 8], [1, 2, 3]),
    "proposals": ("inference", [250, 500, 1000, 2000], [20, 40, 80]),
    "stages": ("inference", [1, 2, 3, 4], [1, 2, 3]),
    "classes": ("inference", [1, 80, 400, 1203], [1, 80, 160]),
    "objects": ("training", [1, 10, 100, 1000], [1, 10, 20]),
}
_MOST = 1.1  # the largest exponent that still counts as linear
_FLAT = 1.1


def main(given: Options) -> None:
    curves: dict[str, dict[str, list[float]]] = {}
    fixed = {"proposals": 20 if given.quick else 1000, "classes": 80, "stages": 3, "batch": 1, "objects": 8}
    fixed |= {"kilopixels": 6 if given.quick else 307, "threads": given.threads}
    for axis, (kind, values, quick) in _AXES.items():
        curves[axis] = _curve(kind, axis, quick if given.quick else values, fixed, given.repeats)
    rows = [row(axis, curve, key) for axis, curve in curves.items() for key in ("ms", "MB")]
    threads = [2**power for power in range(given.threads.bit_length())]
    by_threads = {kind: _curve(kind, "threads", threads, fixed, given.repeats) for kind in ("inference", "training")}
    rows += [speedup(kind, curve) for kind, curve in by_threads.items()]
    write("scaling", given, rows, curves=curves, by_threads=by_threads)
    draw(curves, given.output / "scaling.svg")


def _curve(kind: str, axis: str, values: list[int], fixed: dict[str, int], repeats: int) -> dict[str, list[float]]:
    """Measure time and memory along an axis, with the rest fixed."""
    points = [_point(kind, fixed | {axis: value}, repeats) for value in values]
    return {"values": values, **{key: [point[key] for point in points] for key in ("ms", "MB")}}  # type: ignore[dict-item]


def speedup(kind: str, curve: dict[str, list[float]]) -> Row:
    """Make a row with how many times as fast the most threads are as one."""
    one, most = curve["ms"][0], curve["ms"][-1]
    what = f"{kind}, threads from 1 ({one:.0f} ms) to {int(curve['values'][-1])}"
    return Row(what=what, value=most, unit="ms", ratio=one / most, against="times as fast")


def row(axis: str, curve: dict[str, list[float]], key: str) -> Row:
    """Make a row with the growth of time (ms) or memory (MB) along an axis."""
    values, costs = [int(value) for value in curve["values"]], curve[key]
    what = f"{_AXES[axis][0]}, {axis} from {values[0]} ({costs[0]:.0f} {key}) to {values[-1]}"
    power = exponent(values, costs)
    return Row(what=what, value=costs[-1], unit=key, ratio=power, against="exponent", bound=_MOST)


def exponent(values: list[int], costs: list[float]) -> float:
    """Return the exponent of the best fit, from 0.01 to 4; 0 for a flat or falling curve."""
    if costs[-1] < _FLAT * costs[0]:
        return 0.0
    return min((power / 100 for power in range(1, 401)), key=lambda power: _misfit(power, values, costs))


def _misfit(power: float, values: list[int], costs: list[float]) -> float:
    """Return the sum of squared residuals for the best fixed cost and slope."""
    x, y = np.array(values, dtype=float) ** power, np.array(costs)
    terms = np.stack([np.ones_like(x), x / x.max()], axis=1)
    rest = y - terms @ np.linalg.lstsq(terms, y, rcond=None)[0]
    return float(rest @ rest)


def _point(kind: str, work: dict[str, int], repeats: int) -> dict[str, float]:
    """Measure one configuration on a photo of 3:4."""
    side = (work["kilopixels"] * 1000 / 12) ** 0.5
    size = [round(3 * side), round(4 * side)]
    network = {name: work[name] for name in ("proposals", "classes", "stages")}
    load = {name: work[name] for name in ("classes", "batch", "objects", "threads")}
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/weights.safetensors"
        fresh(prepare, file=file, size=size, **network)
        return fresh(once, kind=kind, file=file, size=size, repeats=repeats, **load)


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
    """Return the median milliseconds and peak megabytes of a model in this process."""
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
    """Plot time above memory, with a column for each axis; dotted lines show linear growth."""
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
