"""How much memory does a detector need? Peak resident memory of a fresh process, inference and training, batch 1."""

import tempfile
from pathlib import Path
from typing import Any

from benchmarks import networks
from benchmarks.measure import Options, Row, Task, fresh, options, peak_mb, write

# Measured elsewhere (megabytes): whoever is not installed here stands in by these.
_REFERENCE = {"inference": {"detectron2": 1716, "mmdet": 1531}, "training": {"detectron2": 2300, "mmdet": 2507}}
_STEPS = 3


def main(given: Options) -> None:
    rows, notes = [], []
    for kind, task in (("inference", given.inference), ("training", given.training)):
        peaks = {}
        with tempfile.TemporaryDirectory() as name:
            image = str(given.image) if given.image else None
            fresh("memory:prepare", folder=name, size=task.size, proposals=task.proposals, image=image)
            floor = fresh("memory:imports")
            for candidate in networks.names():
                if kind == "inference" or "rejection" not in candidate:
                    place = {"folder": name, "size": task.size, "proposals": task.proposals, "threads": given.threads}
                    peaks[candidate] = fresh("memory:once", candidate=candidate, kind=kind, **place)
        measured = {name: peak["peak"] for name, peak in peaks.items() if not networks.is_ours(name)}
        smallest = min(measured | _REFERENCE[kind], key=lambda peer: measured.get(peer) or _REFERENCE[kind][peer])
        against = (_REFERENCE[kind] | measured)[smallest]
        for candidate, peak in peaks.items():
            bound = 1.0 if candidate == "cascade" else None
            rows.append(
                Row(what=f"{kind}: {candidate}", value=peak["peak"], unit="MB", floor=floor + peak["weights"],
                    ratio=peak["peak"] / against, against=smallest, bound=bound)
            )  # fmt: skip
        absent = {name: value for name, value in _REFERENCE[kind].items() if name not in measured}
        if absent:
            listed = ", ".join(f"{name} {megabytes} MB" for name, megabytes in absent.items())
            notes.append(f"{kind}: not installed here, so as measured elsewhere: {listed}")
    notes.append(
        "the floor: a process that imports torch and torchvision, the weights, and in training their gradients"
    )
    write("memory", given, rows, notes)


def prepare(folder: str, size: tuple[int, int], proposals: int, image: str | None) -> None:
    """Write the weights."""
    from benchmarks.photo import photograph
    from benchmarks.weights import prepare

    prepare(Path(folder), photograph((size[0], size[1]), image), Task((size[0], size[1]), proposals))
    if "torchvision v2" in networks.names():
        networks.load("torchvision v2", Path(folder), Task((size[0], size[1]), proposals))  # writes its file


def imports() -> float:
    """Peak memory of the libraries alone."""
    import torchvision  # noqa: F401

    return peak_mb()


def once(candidate: str, kind: str, folder: str, size: tuple[int, int], proposals: int, threads: int) -> dict[str, Any]:
    """Peak memory of one candidate in this process, and what its weights (and gradients) take, in megabytes."""
    import torch

    from benchmarks.photo import objects

    torch.set_num_threads(threads)
    task = Task((size[0], size[1]), proposals)
    image = torch.load(Path(folder) / "photo.pth", weights_only=True)
    network = networks.load(candidate, Path(folder), task)
    if kind == "inference":
        network = networks.for_inference(network)
    for _ in range(_STEPS):
        if kind == "inference":
            network.detect([image])
        else:
            network.step([image], [objects(task.size, task.classes)])
    weights = sum(p.nbytes for p in network.model.state_dict().values())
    gradients = sum(p.nbytes for p in network.model.parameters() if p.requires_grad) if kind == "training" else 0
    return {"peak": peak_mb(), "weights": (weights + gradients) / 2**20}


if __name__ == "__main__":
    main(options(__doc__))
