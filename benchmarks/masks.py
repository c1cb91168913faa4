"""How fast are masks, and how much memory do they take? Batch 1, 800 x 1333, 80 classes, fp32.

Mask R-CNN is compared with torchvision's, and Cascade Mask R-CNN (with one mask head, as trained by detectron2) with
detectron2's, on the same weights: inference, a training step, the peak memory of each in a fresh process, and pasting
100 masks into the image. Masks are either probabilities for every pixel (torchvision's contract) or encoded, as in
`Detector.predict` and `Predictor`.
"""

import math
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torchvision.models.detection.roi_heads import paste_masks_in_image

from benchmarks import memory
from benchmarks.agreement import agreement
from benchmarks.measure import Options, Row, Task, interleaved, options, write
from benchmarks.networks import converted, for_inference, load
from benchmarks.peers.process import PeerProcess, interpreters
from benchmarks.photo import maps, objects, photograph
from benchmarks.weights import prepare
from cascade_rcnn.pasting import paste, paste_encoded

_OURS = {"torchvision v1": "faster", "detectron2": "cascade"}  # the model that is compared with each peer
_NAMES = {
    "torchvision v1": "torchvision's Mask R-CNN",
    "detectron2": "detectron2's Cascade Mask R-CNN",
    "faster": "Mask R-CNN",
    "cascade": "Cascade Mask R-CNN",
}
Runs = dict[str, Callable[[], Any]]


def main(given: Options) -> None:
    task = replace(given.beside_peers, masks=True)
    pythons = {name: python for name, python in interpreters(given.peers).items() if name == "detectron2"}
    image = photograph(task.size, given.image)
    rows, notes = [], [str(task)]
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        prepare(folder, image, task)
        peers = {
            peer: stack.enter_context(PeerProcess(peer, python, folder, task, given.threads))
            for peer, python in pythons.items()
        }
        notes += [process.versions for process in peers.values()]
        if "inference" in given.kinds:
            found, said = _detecting(folder, image, task, peers, given.repeats)
            rows, notes = rows + found, notes + said
        if "training" in given.kinds:
            rows += _training(folder, image, task, peers, given.repeats)
        rows += _pasting(task, peers, given.repeats)
    for kind in given.kinds:
        candidates = ["faster", "cascade", "torchvision v1"]
        candidates += ["faster, encoded", "cascade, encoded"] if kind == "inference" else []
        peaks, _ = memory.peaks(kind, task, given, candidates, pythons)
        rows += compared(f"{kind}, peak memory", peaks, "MB")
    write("masks", given, rows, notes)


def _detecting(
    folder: Path, image: torch.Tensor, task: Task, peers: Mapping[str, PeerProcess], repeats: int
) -> tuple[list[Row], list[str]]:
    ours = ("faster", "faster, encoded", "cascade", "cascade, encoded")
    networks = {name: for_inference(load(name, folder, task)) for name in (*ours, "torchvision v1")}
    same = {"torchvision v1": for_inference(converted("torchvision", folder, task))}
    same |= {peer: for_inference(converted(peer, folder, task)) for peer in peers}
    networks |= {f"{peer}, converted": network for peer, network in same.items()}
    runs: Runs = {name: partial(network.detect, [image]) for name, network in networks.items()}
    runs |= {peer: partial(process.ask, "detect") for peer, process in peers.items()}
    rows = compared("inference", milliseconds(runs, repeats), "ms")
    found = {"torchvision v1": networks["torchvision v1"].detect([image])[0]}
    found |= {peer: process.found() for peer, process in peers.items()}
    notes = [
        f"{_NAMES[peer]} and converted: {agreement(theirs, same[peer].detect([image])[0])}"
        for peer, theirs in found.items()
    ]
    return rows, notes


def _training(
    folder: Path, image: torch.Tensor, task: Task, peers: Mapping[str, PeerProcess], repeats: int
) -> list[Row]:
    target = objects(task.size, task.classes, masks=True)
    networks = {name: load(name, folder, task) for name in ("faster", "cascade", "torchvision v1")}
    runs: Runs = {name: partial(network.step, [image], [target]) for name, network in networks.items()}
    runs |= {peer: partial(process.ask, "step") for peer, process in peers.items()}
    if not all(math.isfinite(run()) for run in runs.values()):
        raise SystemExit("a loss is not finite")
    return compared("training", milliseconds(runs, repeats), "ms")


def _pasting(task: Task, peers: Mapping[str, PeerProcess], repeats: int) -> list[Row]:
    height, width = task.size
    given = maps(task.size)
    masks, boxes = given["masks"], given["boxes"]
    encoded = partial(paste_encoded, masks, boxes, height, width)
    runs: Runs = {
        "torchvision v1": lambda: paste_masks_in_image(masks[:, None], boxes, (height, width)),
        "faster": lambda: paste(masks, boxes, height, width),
        "faster, encoded": encoded,
        "cascade, encoded": encoded,
    }
    runs |= {peer: partial(process.ask, "paste") for peer, process in peers.items()}
    return compared(f"pasting {len(masks)} masks", milliseconds(runs, repeats), "ms")


def milliseconds(runs: Runs, repeats: int) -> dict[str, float]:
    """Return the median time of each candidate."""
    return {name: 1e3 * taken for name, taken in interleaved(runs, repeats).items()}


def compared(kind: str, figures: Mapping[str, float], unit: str) -> list[Row]:
    """Make a row for each measured peer, and for those of our models that are compared with it."""
    rows = []
    for peer, mine in _OURS.items():
        if peer not in figures:
            continue
        rows.append(Row(what=f"{kind}: {_NAMES[peer]}", value=figures[peer], unit=unit))
        for name, figure in figures.items():
            if name.startswith((mine, f"{peer},")):
                what = f"{kind}: {_NAMES[mine]}{name.removeprefix(mine).removeprefix(peer)}"
                ratio = figure / figures[peer]
                rows.append(Row(what=what, value=figure, unit=unit, ratio=ratio, against=peer, bound=1.0))
    return rows


if __name__ == "__main__":
    main(options(__doc__))
