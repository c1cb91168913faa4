"""How fast is inference, and where does the time go? Batch 1, 800 x 1216, 80 classes, 1000 proposals."""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import networks, parts
from benchmarks.agreement import agreement
from benchmarks.floor import matrix_rates, operations
from benchmarks.measure import Options, Row, interleaved, options, write
from benchmarks.photo import photograph
from benchmarks.weights import prepare
from cascade_rcnn.engine.predictor import Precision

_REFERENCE = "torchvision v1"  # in the same precision
_OVERHEAD = {"cascade fp32": 1.22, "cascade bf16": 1.15, "cascade, early rejection fp32": 1.06}


def main(given: Options) -> None:
    task = given.inference
    image = photograph(task.size, given.image)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, image, task)
        loaders = {name: partial(networks.load, name, folder, task) for name in networks.names()}
        loaders["faster, converted"] = partial(networks.converted, "torchvision", folder, task)
        loaded = {name: networks.for_inference(load()) for name, load in loaders.items()}
        runs: dict[str, Callable[[], Any]] = {
            f"{name} fp32": partial(_detect, network, image, "fp32") for name, network in loaded.items()
        }
        for name in loaders:
            lowered = networks.for_inference(loaders[name](), "bf16")
            runs[f"{name} bf16"] = partial(_detect, lowered, image, "bf16")
    rates = matrix_rates(given.quick)
    if given.compile:
        compiled = networks.ours(loaded["cascade"].model)
        compiled.model.detect = torch.compile(compiled.model.detect)  # type: ignore[method-assign]
        runs["cascade compiled fp32"] = lambda: _detect(compiled, image, "fp32")
    times = interleaved(runs, given.repeats)
    flops = {name: operations(lambda n=network: _detect(n, image, "fp32")) for name, network in loaded.items()}
    rows = [_row(name, times, flops, rates) for name in runs]
    rows += [
        Row(what=f"{name}: overhead", value=1e3 * times[name], unit="ms", ratio=times[name] / times[base], against=base,
            bound=bound)
        for name, bound in _OVERHEAD.items() if name in times for base in [f"faster {name.split()[-1]}"]
    ]  # fmt: skip
    rows += [parts.outside_row(what, runs[what]) for what in ("cascade fp32", "cascade bf16")]
    shares = {name: parts.breakdown(network, image, given.repeats) for name, network in loaded.items()}
    found = {name: network.detect([image])[0] for name, network in loaded.items()}
    notes = [str(task)]
    notes += [f"torchvision v1 and faster, converted: {agreement(found['torchvision v1'], found['faster, converted'])}"]
    notes += [f"{name}: {len(one['boxes'])} detections" for name, one in found.items()]
    write("inference", given, rows, notes, breakdown_ms=shares, gflop={k: v / 1e9 for k, v in flops.items()})


def _detect(network: networks.Network, image: Tensor, precision: Precision) -> list[dict[str, Tensor]]:
    with networks.precise(image, precision):
        return network.detect([image])


def _row(name: str, times: dict[str, float], flops: dict[str, int], rates: dict[str, float]) -> Row:
    network, precision = name.rsplit(" ", 1)
    reference = f"{_REFERENCE} {precision}"
    return Row(
        what=name,
        value=1e3 * times[name],
        unit="ms",
        floor=1e3 * flops[network.removesuffix(" compiled")] / rates[precision],
        ratio=times[name] / times[reference],
        against=reference,
    )


if __name__ == "__main__":
    main(options(__doc__))
