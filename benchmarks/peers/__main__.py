"""How fast is a cascade compared with detectron2's and mmdetection's? Batch 1, 800 x 1333, 80 classes.

Inference and a training step (forward and backward) are measured, all with the same weights, with a ResNet-50 and, for
mmdetection, a Swin-T and a ConvNeXt-T. "cascade" is our default; "converted" is ours converted from the peer's
checkpoint and config, including settings and RoI sampling, so that its detections must be the peer's. Our models run as
in `Predictor`, and also "unfolded", as loaded. If the processor has instructions for bf16, our default is also measured
in bf16, and so is each peer that runs under torch's autocast.
"""

import math
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from benchmarks.agreement import agreement
from benchmarks.floor import bf16_instructions
from benchmarks.measure import Options, Row, Task, interleaved, options, restrictions, skip, write
from benchmarks.networks import Network, converted, for_inference, load, precise
from benchmarks.peers.process import PeerProcess, interpreters
from benchmarks.photo import objects, photograph
from benchmarks.weights import prepare

# The peers that have a cascade with this backbone
_BACKBONES = {"resnet50": ("detectron2", "mmdet"), "swin_t": ("mmdet",), "convnext_tiny": ("mmdet",)}
_LABELS = {"resnet50": "ResNet-50", "swin_t": "Swin-T", "convnext_tiny": "ConvNeXt-T"}
_STANDARD = _LABELS["resnet50"]
# Targets, for a ResNet-50: our time as a fraction of the peer's
_CONVERTED = {"inference": 0.75, "training": 0.90}
_CASCADE = {("inference", "detectron2"): 0.55, ("training", "detectron2"): 0.75}
_UNFOLDED, _BF16 = ", unfolded", " bf16"
Peers = dict[str, PeerProcess]
Runs = dict[str, Callable[[], Any]]


def main(given: Options) -> None:
    pythons = interpreters(given.peers)
    if not pythons:
        skip("peers", "neither detectron2 nor mmdet is installed here; give --peer detectron2=/path/to/its/python")
        return
    rows: list[Row] = []
    notes = [str(given.beside_peers)]
    for backbone, having in _BACKBONES.items():
        if there := {peer: python for peer, python in pythons.items() if peer in having}:
            task = replace(given.beside_peers, backbone=backbone)
            found, said = _measure(task, there, given)
            rows += found
            notes += [note for note in said if note not in notes]
    write("peers", given, rows, notes)


def _measure(task: Task, pythons: Mapping[str, Path], given: Options) -> tuple[list[Row], list[str]]:
    image, label = photograph(task.size, given.image), _LABELS[task.backbone]
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        prepare(folder, image, task)
        peers = {
            peer: stack.enter_context(PeerProcess(peer, python, folder, task, given.threads))
            for peer, python in pythons.items()
        }
        rows, notes = [], [process.versions for process in peers.values()]
        bf16 = set() if restrictions() or not bf16_instructions() else {"cascade", *peers}
        for peer, process in peers.items() if bf16 else ():
            if errors := process.ask("failing"):
                bf16.discard(peer)
                notes.append(f"{peer} does not run in bf16 with {label}: {next(iter(errors.values()))}")
        if "inference" in given.kinds:
            networks = _ours(peers, folder, task)
            folded = {what: for_inference(network) for what, network in _ours(peers, folder, task).items()}
            lowered = for_inference(load("cascade", folder, task), "bf16") if bf16 else None
            runs = _detections(peers, folded, networks, lowered, image, bf16)
            rows += compared("inference", peers, interleaved(runs, given.repeats), label)
            notes += _agreements(peers, networks, image, label)
            notes += _agreements(peers, folded, image, f"{label}, folded")
        if "training" in given.kinds:
            runs = _steps(peers, _ours(peers, folder, task), image, objects(task.size, task.classes), bf16)
            if not all(math.isfinite(run()) for run in runs.values()):
                raise SystemExit("a loss is not finite")
            rows += compared("training", peers, interleaved(runs, given.repeats), label)
    return rows, notes


def _detections(
    peers: Peers,
    folded: dict[str, Network],
    unfolded: dict[str, Network],
    lowered: Network | None,
    image: Tensor,
    bf16: set[str],
) -> Runs:
    runs: Runs = {peer: partial(process.ask, "detect") for peer, process in peers.items()}
    runs |= {what: partial(network.detect, [image]) for what, network in folded.items()}
    runs |= {f"{what}{_UNFOLDED}": partial(network.detect, [image]) for what, network in unfolded.items()}
    runs |= {f"{peer}{_BF16}": partial(peers[peer].ask, "detect bf16") for peer in peers if peer in bf16}
    return runs if lowered is None else runs | {f"cascade{_BF16}": partial(_detect_in_bf16, lowered, image)}


def _steps(
    peers: Peers, networks: dict[str, Network], image: Tensor, target: dict[str, Tensor], bf16: set[str]
) -> Runs:
    runs: Runs = {peer: partial(process.ask, "step") for peer, process in peers.items()}
    runs |= {what: partial(network.step, [image], [target]) for what, network in networks.items()}
    runs |= {f"{peer}{_BF16}": partial(peers[peer].ask, "step bf16") for peer in peers if peer in bf16}
    lowered = partial(networks["cascade"].step, [image], [target], "bf16")
    return runs | {f"cascade{_BF16}": lowered} if bf16 else runs


def _ours(peers: Peers, folder: Path, task: Task) -> dict[str, Network]:
    return {"cascade": load("cascade", folder, task)} | {
        f"{peer}, converted": converted(peer, folder, task) for peer in peers
    }


def _detect_in_bf16(network: Network, image: Tensor) -> None:
    with precise(image, "bf16"):
        network.detect([image])


def compared(kind: str, peers: Iterable[str], times: dict[str, float], label: str = _STANDARD) -> list[Row]:
    """Make a row for each peer, and for what is compared with it: our default, and ours converted from the peer.

    What ran in bf16 is compared with the peer in bf16, if it ran, else in fp32.
    """
    rows = []
    for peer in peers:
        rows.append(Row(what=f"{label}, {kind}: {peer}", value=1e3 * times[peer], unit="ms"))
        for what, taken in times.items():
            if not what.startswith(("cascade", f"{peer},", f"{peer}{_BF16}")):
                continue
            against = f"{peer}{_BF16}" if what == f"cascade{_BF16}" and f"{peer}{_BF16}" in times else peer
            bound = _bound(kind, peer, what) if label == _STANDARD else None
            rows.append(
                Row(what=f"{label}, {kind}: {what}", value=1e3 * taken, unit="ms", ratio=taken / times[against],
                    against=against, bound=bound)
            )  # fmt: skip
    return rows


def _bound(kind: str, peer: str, what: str) -> float | None:
    if what.endswith((_UNFOLDED, _BF16)):
        return None
    return _CASCADE.get((kind, peer)) if what == "cascade" else _CONVERTED[kind]


def _agreements(peers: Peers, networks: dict[str, Network], image: Tensor, label: str) -> list[str]:
    found = {peer: process.found() for peer, process in peers.items()}
    return [
        f"{label}: {peer} and {what}: {agreement(found[peer], network.detect([image])[0])}"
        for peer in peers
        for what, network in networks.items()
        if what.startswith(f"{peer},")
    ]


if __name__ == "__main__":
    main(options(__doc__))
