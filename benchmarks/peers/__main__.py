"""How fast is a cascade compared with detectron2's and mmdetection's? Batch 1, 800 x 1333, 80 classes, fp32.

Inference and a training step (forward and backward) are measured, all with the same weights. "cascade" is our default;
"converted" is ours converted from the peer's checkpoint and config, including settings and RoI sampling, so that its
detections must be the peer's. Our models run as in `Predictor`, and also "unfolded", as loaded.
"""

import math
import tempfile
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from benchmarks.agreement import agreement
from benchmarks.measure import Options, Row, Task, interleaved, options, skip, write
from benchmarks.networks import Network, converted, for_inference, load
from benchmarks.peers.process import PeerProcess, interpreters
from benchmarks.photo import objects, photograph
from benchmarks.weights import prepare

# Targets: our time as a fraction of the peer's
_CONVERTED = {"inference": 0.75, "training": 0.90}
_CASCADE = {("inference", "detectron2"): 0.55, ("training", "detectron2"): 0.75}
_UNFOLDED = ", unfolded"
Peers = dict[str, PeerProcess]


def main(given: Options) -> None:
    pythons = interpreters(given.peers)
    if not pythons:
        skip("peers", "neither detectron2 nor mmdet is installed here; give --peer detectron2=/path/to/its/python")
        return
    task = given.beside_peers
    image = photograph(task.size, given.image)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        prepare(folder, image, task)
        peers = {
            peer: stack.enter_context(PeerProcess(peer, python, folder, task, given.threads))
            for peer, python in pythons.items()
        }
        rows, notes = [], [str(task), *(process.versions for process in peers.values())]
        if "inference" in given.kinds:
            networks = _ours(peers, folder, task)
            folded = {what: for_inference(network) for what, network in _ours(peers, folder, task).items()}
            networks = folded | {f"{what}{_UNFOLDED}": network for what, network in networks.items()}
            rows += _detecting(peers, networks, image, given.repeats)
            notes += _agreements(peers, networks, image)
        if "training" in given.kinds:
            rows += _training(peers, _ours(peers, folder, task), image, task, given.repeats)
    write("peers", given, rows, notes)


def _ours(peers: Peers, folder: Path, task: Task) -> dict[str, Network]:
    return {"cascade": load("cascade", folder, task)} | {
        f"{peer}, converted": converted(peer, folder, task) for peer in peers
    }


def _detecting(peers: Peers, networks: dict[str, Network], image: Tensor, repeats: int) -> list[Row]:
    runs: dict[str, Callable[[], Any]] = {peer: partial(process.ask, "detect") for peer, process in peers.items()}
    runs |= {what: partial(network.detect, [image]) for what, network in networks.items()}
    return compared("inference", peers, interleaved(runs, repeats))


def _training(peers: Peers, networks: dict[str, Network], image: Tensor, task: Task, repeats: int) -> list[Row]:
    target = objects(task.size, task.classes)
    runs: dict[str, Callable[[], Any]] = {peer: partial(process.ask, "step") for peer, process in peers.items()}
    runs |= {what: partial(network.step, [image], [target]) for what, network in networks.items()}
    if not all(math.isfinite(run()) for run in runs.values()):
        raise SystemExit("a loss is not finite")
    return compared("training", peers, interleaved(runs, repeats))


def compared(kind: str, peers: Iterable[str], times: dict[str, float]) -> list[Row]:
    """Make a row for each peer and for what is compared with it: our default, and ours converted from the peer."""
    rows = []
    for peer in peers:
        rows.append(Row(what=f"{kind}: {peer}", value=1e3 * times[peer], unit="ms"))
        for what, taken in times.items():
            if what.startswith(("cascade", f"{peer},")):
                ratio, bound = taken / times[peer], _bound(kind, peer, what)
                what = f"{kind}: {what}"
                rows.append(Row(what=what, value=1e3 * taken, unit="ms", ratio=ratio, against=peer, bound=bound))
    return rows


def _bound(kind: str, peer: str, what: str) -> float | None:
    if what.endswith(_UNFOLDED):
        return None
    return _CASCADE.get((kind, peer)) if what == "cascade" else _CONVERTED[kind]


def _agreements(peers: Peers, networks: dict[str, Network], image: Tensor) -> list[str]:
    found = {peer: process.found() for peer, process in peers.items()}
    return [
        f"{peer} and {what}: {agreement(found[peer], network.detect([image])[0])}"
        for peer in peers
        for what, network in networks.items()
        if what.startswith(f"{peer},")
    ]


if __name__ == "__main__":
    main(options(__doc__))
