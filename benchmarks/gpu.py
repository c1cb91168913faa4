"""Throughput on a GPU: batch 1 and 16, in fp32, tf32 and bf16, eager and compiled, and its share of the matrix rate.

`fp32` computes convolutions and matrix products in full precision, `tf32` on the matrix units; torch's own default is
tf32 for convolutions only. `compiled` is `torch.compile` of the detector's dense part, and `CUDA graphs` its mode
`reduce-overhead`, which captures everything between the calls of NMS.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import networks, parts
from benchmarks.floor import matrix_rates, operations
from benchmarks.measure import Options, Row, Task, interleaved, options, skip, write
from benchmarks.photo import objects, photograph
from benchmarks.weights import prepare
from cascade_rcnn.engine.predictor import Precision

_PEER = "torchvision v1"
_DEVICE = "cuda"
_PRECISIONS = ("fp32", "tf32", "bf16")
_COMPILED, _GRAPHS = ("compiled", "default"), ("compiled, CUDA graphs", "reduce-overhead")  # names and modes
_FLOOR = "the floor of images/s is a ceiling here: the matrix rate divided by the operations per image"


def main(given: Options) -> None:
    if not torch.cuda.is_available():
        skip("gpu", "torch sees no GPU here")
        return
    rates = {}
    for precision in _PRECISIONS:
        with _products_in(precision):
            rates[precision] = matrix_rates(given.quick, device=_DEVICE)[_autocast(precision)]
    rows = [Row(what=f"matrix product, {name}", value=rate / 1e12, unit="TFLOP/s") for name, rate in rates.items()]
    notes = [_FLOOR]
    for kind in given.kinds:
        rows += _eager(kind, given, rates)
        size = _tasks(given)[kind].size
        notes.append(f"{kind}: {size[0]} x {size[1]} pixels")
        write("gpu", given, rows, notes)  # kept even if the process is killed later
    if given.compile:
        rows += _compiled(given, rates)
        write("gpu", given, rows, notes)


def _tasks(given: Options) -> dict[str, Task]:
    return {"inference": given.inference, "training": given.training}


def _batches(given: Options) -> tuple[int, int]:
    return (1, 2) if given.quick else (1, 16)


def _eager(kind: str, given: Options, rates: dict[str, float]) -> list[Row]:
    """Measure all candidates."""
    task = _tasks(given)[kind]
    photo = photograph(task.size, given.image)
    image = photo.to(_DEVICE)
    target = {key: value.to(_DEVICE) for key, value in objects(task.size, task.classes).items()}
    wanted = [name for name in networks.names() if kind == "inference" or "rejection" not in name]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder), photo, task)
        for precision in _PRECISIONS:
            loaded = {name: _load(name, Path(folder), task, kind, precision) for name in wanted}
            for batch in _batches(given):
                runs = {name: _run(kind, network, image, target, batch, precision) for name, network in loaded.items()}
                rows += _rows(kind, batch, precision, runs, rates[precision], given.repeats)
    return rows


def _load(name: str, folder: Path, task: Task, kind: str, precision: str) -> networks.Network:
    network = networks.load(name, folder, task)
    if kind == "inference":
        networks.for_inference(network, _autocast(precision))
    network.model.to(_DEVICE)
    return network


def _run(
    kind: str, network: networks.Network, image: Tensor, target: dict[str, Tensor], batch: int, precision: str
) -> Callable[[], None]:
    """Return a function that detects in, or trains on, a batch, and waits for the GPU."""

    def run() -> None:
        with _products_in(precision):
            if kind == "training":
                network.step([image] * batch, [target] * batch, _autocast(precision))
            else:
                with networks.precise(image, _autocast(precision)):
                    network.detect([image] * batch)
            torch.cuda.synchronize()

    return run


def _rows(
    kind: str, batch: int, precision: str, runs: dict[str, Callable[[], None]], rate: float, repeats: int
) -> list[Row]:
    times = interleaved(runs, repeats, warmup=4)
    rows = []
    for name, run in runs.items():
        what = f"{kind}, batch {batch}, {precision}: {name}"
        ratio = times[_PEER] / times[name]
        rows.append(_row(what, batch, times[name], operations(run), rate, ratio))
        if batch > 1 and precision == "bf16":
            rows.append(Row(what=f"{what}, memory", value=_memory(run), unit="GB"))
        if precision == "bf16" and name in ("cascade", _PEER):
            share = parts.outside(run, gpu=True)
            rows.append(Row(what=f"{what}, outside convolutions and matrix products", value=share, unit="%"))
    return rows


def _row(what: str, batch: int, seconds: float, flops: int, rate: float, ratio: float) -> Row:
    share = f"{what} ({100 * flops / seconds / rate:.0f} % of the matrix rate)"
    ceiling = batch * rate / flops
    return Row(what=share, value=batch / seconds, unit="images/s", floor=ceiling, ratio=ratio, against=_PEER)


def _memory(run: Callable[[], None]) -> float:
    """Return the gigabytes that a call needs at its peak, without what is there before and after it."""
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    run()
    return (torch.cuda.max_memory_allocated() - before) / 1e9


def _compiled(given: Options, rates: dict[str, float]) -> list[Row]:
    """Measure the compiled cascade in bf16 next to the eager one and torchvision's detector."""
    task, precision = given.inference, "bf16"
    photo = photograph(task.size, given.image)
    image = photo.to(_DEVICE)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder), photo, task)
        load = partial(_load, folder=Path(folder), task=task, kind="inference", precision=precision)
        for batch, modes in zip(_batches(given), ([_COMPILED, _GRAPHS], [_COMPILED]), strict=True):
            loaded = {name: load(name) for name in ("cascade", _PEER)}
            for name, mode in modes:
                loaded[f"cascade, {name}"] = network = load("cascade")
                network.model.detect = torch.compile(network.model.detect, mode=mode)  # type: ignore[method-assign]
            runs = {name: _run("inference", network, image, {}, batch, precision) for name, network in loaded.items()}
            times, flops = interleaved(runs, given.repeats, warmup=4), operations(runs["cascade"])
            for name in (f"cascade, {name}" for name, _ in modes):
                what = f"inference, batch {batch}, {precision}: {name}"
                rows.append(_row(what, batch, times[name], flops, rates[precision], times[_PEER] / times[name]))
                ratio = times[name] / times["cascade"]
                rows.append(Row(what=what, value=1e3 * times[name], unit="ms", ratio=ratio, against="eager"))
            torch.compiler.reset()
    return rows


def _autocast(precision: str) -> Precision:
    return "bf16" if precision == "bf16" else "fp32"


@contextmanager
def _products_in(precision: str) -> Iterator[None]:
    """Allow or forbid TF32 in convolutions and matrix products inside the block."""
    places: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [place.allow_tf32 for place in places]
    for place in places:
        place.allow_tf32 = precision != "fp32"
    try:
        yield
    finally:
        for place, value in zip(places, before, strict=True):
            place.allow_tf32 = value


if __name__ == "__main__":
    main(options(__doc__))
