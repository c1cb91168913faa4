"""How much memory does a detector need? Peak resident memory of a fresh process, inference and training, batch 1."""

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import networks
from benchmarks.measure import Options, Row, Task, fresh, options, peak_mb, write
from benchmarks.peers.process import PeerProcess, interpreters

_STEPS = 3
_WORK = {"inference": "detect", "training": "step"}  # requests to a peer's process


def main(given: Options) -> None:
    rows = []
    tasks = {"inference": given.inference, "training": given.training}
    for kind in given.kinds:
        wanted = [one for one in networks.names() if kind == "inference" or "rejection" not in one]
        rows += _rows(kind, *peaks(kind, tasks[kind], given, wanted, interpreters(given.peers)))
    notes = [f"{kind}: {tasks[kind]}" for kind in given.kinds]
    notes += ["the floor is a process that imports torch and torchvision, plus the weights and, in training, gradients"]
    write("memory", given, rows, notes)


def peaks(
    kind: str, task: Task, given: Options, candidates: list[str], pythons: dict[str, Path]
) -> tuple[dict[str, float], dict[str, float]]:
    """Return the peak memory of each candidate and peer, and the floor of each candidate, in megabytes."""
    with tempfile.TemporaryDirectory() as name:
        image = str(given.image) if given.image else None
        fresh(prepare, folder=name, task=asdict(task), image=image)
        place = {"folder": name, "task": asdict(task), "threads": given.threads}
        measured = {one: fresh(once, candidate=one, kind=kind, **place) for one in candidates}
        most = {one: found["peak"] for one, found in measured.items()}
        libraries = fresh(imports)
        floors = {one: libraries + found["weights"] for one, found in measured.items()}
        for peer, python in pythons.items():
            with PeerProcess(peer, python, Path(name), task, given.threads) as process:
                for _ in range(_STEPS):
                    process.ask(_WORK[kind])
                most[peer] = process.ask("peak")
    return most, floors


def _rows(kind: str, peaks: dict[str, float], floors: dict[str, float]) -> list[Row]:
    """Compare with the other frameworks' detector that needs the least memory."""
    others = {name: peak for name, peak in peaks.items() if not networks.is_ours(name)}
    smallest = min(others, key=lambda name: others[name])
    return [
        Row(
            what=f"{kind}: {name}",
            value=peak,
            unit="MB",
            floor=floors.get(name),
            ratio=peak / others[smallest],
            against=smallest,
            bound=1.0 if name == "cascade" else None,
        )
        for name, peak in peaks.items()
    ]


def prepare(folder: str, task: dict[str, Any], image: str | None) -> None:
    """Write the weights to a folder."""
    from benchmarks.photo import photograph
    from benchmarks.weights import prepare

    given = Task(**task)
    prepare(Path(folder), photograph(given.size, image), given)
    if not given.masks:
        networks.load("torchvision v2", Path(folder), given)  # writes its file


def imports() -> float:
    """Return the peak memory of the libraries alone."""
    import torchvision  # noqa: F401

    return peak_mb()


def once(candidate: str, kind: str, folder: str, task: dict[str, Any], threads: int) -> dict[str, Any]:
    """Return the peak memory of a candidate in this process, and that of its weights (and gradients), in megabytes."""
    import torch

    from benchmarks.photo import objects

    torch.set_num_threads(threads)
    given = Task(**task)
    image = torch.load(Path(folder) / "photo.pth", weights_only=True)
    network = networks.load(candidate, Path(folder), given)
    if kind == "inference":
        network = networks.for_inference(network)
    for _ in range(_STEPS):
        if kind == "inference":
            network.detect([image])
        else:
            network.step([image], [objects(given.size, given.classes, masks=given.masks)])
    weights = sum(p.nbytes for p in network.model.state_dict().values())
    gradients = sum(p.nbytes for p in network.model.parameters() if p.requires_grad) if kind == "training" else 0
    return {"peak": peak_mb(), "weights": (weights + gradients) / 2**20}


if __name__ == "__main__":
    main(options(__doc__))
