"""How long does a training step take? Forward and backward, batch 1, 800 x 800, 80 classes, 8 objects."""

import tempfile
from functools import partial
from pathlib import Path

from benchmarks import networks, parts
from benchmarks.floor import matrix_rates, operations
from benchmarks.measure import Options, Row, interleaved, options, write
from benchmarks.photo import objects, photograph
from benchmarks.weights import prepare

_REFERENCE = "torchvision v1"  # in the same precision
_OVERHEAD = 1.25


def main(given: Options) -> None:
    task = given.training
    image, target = photograph(task.size, given.image), objects(task.size, task.classes)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, image, task)
        wanted = [name for name in networks.names() if "rejection" not in name]
        loaded = {name: networks.load(name, folder, task) for name in wanted}
    for name, network in loaded.items():
        loss = network.step([image], [target])
        if not loss.isfinite():
            raise SystemExit(f"{name}: the loss is not finite")
    rates = matrix_rates(given.quick)
    runs = {
        f"{name} {precision}": partial(network.step, [image], [target], precision)
        for name, network in loaded.items()
        for precision in networks.PRECISIONS
    }
    flops = {name: operations(lambda n=network: n.step([image], [target])) for name, network in loaded.items()}
    times = interleaved(runs, given.repeats)
    rows = []
    for name, taken in times.items():
        network, precision = name.rsplit(" ", 1)
        floor = 1e3 * flops[network] / rates[precision]
        reference = f"{_REFERENCE} {precision}"
        ratio = taken / times[reference]
        rows.append(Row(what=name, value=1e3 * taken, unit="ms", floor=floor, ratio=ratio, against=reference))
    for precision in networks.PRECISIONS:
        mine, base = times[f"cascade {precision}"], f"faster {precision}"
        what = f"cascade {precision}: overhead"
        rows.append(
            Row(what=what, value=1e3 * mine, unit="ms", ratio=mine / times[base], against=base, bound=_OVERHEAD)
        )
    rows += [parts.outside_row(what, runs[what]) for what in ("cascade fp32", "cascade bf16")]
    write("training_step", given, rows, [str(task)], gflop={name: count / 1e9 for name, count in flops.items()})


if __name__ == "__main__":
    main(options(__doc__))
