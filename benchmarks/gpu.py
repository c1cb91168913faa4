"""Throughput on a GPU in bf16: images per second at batch 1, 8 and 16, and the share of the measured matrix rate."""

import tempfile
from pathlib import Path

import torch

from benchmarks import networks
from benchmarks.floor import matrix_rates, operations
from benchmarks.measure import Options, Row, interleaved, options, skip, write
from benchmarks.photo import objects, photograph
from benchmarks.weights import prepare

_PEER = "torchvision v1"
_DEVICE = "cuda"


def main(given: Options) -> None:
    if not torch.cuda.is_available():
        skip("gpu", "torch sees no GPU here")
        return
    rate = matrix_rates(given.quick, device=_DEVICE)["bf16"]
    rows = [Row(what="matrix product, bf16", value=rate / 1e12, unit="TFLOP/s")]
    for kind, task in (("inference", given.inference), ("training", given.training)):
        with tempfile.TemporaryDirectory() as name:
            image = photograph(task.size, given.image)
            prepare(Path(name), image, task)
            loaded = {n: networks.load(n, Path(name), task) for n in networks.names()}
        if kind == "inference":
            loaded = {n: networks.for_inference(network, "bf16") for n, network in loaded.items()}
        image = image.to(_DEVICE)
        target = {key: value.to(_DEVICE) for key, value in objects(task.size, task.classes).items()}
        for network in loaded.values():
            network.model.to(_DEVICE)
        for batch in (1, 2) if given.quick else (1, 8, 16):
            rows += _rows(kind, batch, loaded, image, target, rate, given.repeats)
    note = "the floor of images/s is a ceiling here: the matrix rate divided by the operations per image"
    write("gpu", given, rows, [note])


def _rows(
    kind: str,
    batch: int,
    loaded: dict[str, networks.Network],
    image: torch.Tensor,
    target: dict[str, torch.Tensor],
    rate: float,
    repeats: int,
) -> list[Row]:
    def run(network: networks.Network) -> None:
        if kind == "inference":
            with networks.precise(image, "bf16"):
                network.detect([image] * batch)
        else:
            network.step([image] * batch, [target] * batch, "bf16")
        torch.cuda.synchronize()

    times = interleaved({name: lambda n=network: run(n) for name, network in loaded.items()}, repeats, warmup=5)
    rows = []
    for name, taken in times.items():
        flops = operations(lambda n=loaded[name]: run(n))
        what = f"{kind}, batch {batch}: {name} ({100 * flops / taken / rate:.0f} % of the matrix rate)"
        ratio = times[_PEER] / taken
        rows.append(
            Row(what=what, value=batch / taken, unit="images/s", floor=batch * rate / flops, ratio=ratio, against=_PEER)
        )
    return rows


if __name__ == "__main__":
    main(options(__doc__))
