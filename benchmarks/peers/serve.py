"""The server: a peer's detector in its own Python, which answers each request with a line of JSON.

Nothing from cascade_rcnn is imported here.
"""

import importlib
import json
import os
import platform
import sys
from collections.abc import Callable
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from benchmarks.measure import Task, peak_mb


def main() -> None:
    given = json.loads(sys.argv[1])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # keep the output of libraries out of the answers
    torch.set_num_threads(given["threads"])
    folder = Path(given["folder"])
    peer = importlib.import_module(f"benchmarks.peers.{given['name']}_cascade").Peer(folder, Task(**given["task"]))
    known = calls(peer, given["name"], folder)
    for line in chain(["versions"], sys.stdin):
        answers.write(json.dumps(known[line.strip()]()) + "\n")
        answers.flush()


def calls(peer: Any, name: str, folder: Path) -> dict[str, Callable[[], Any]]:
    """Return the supported requests by name."""
    image = torch.load(folder / "photo.pth", weights_only=True)
    target = torch.load(folder / "objects.pth", weights_only=True)
    maps = torch.load(folder / "maps.pth", weights_only=True) if (folder / "maps.pth").exists() else {}

    def detect() -> None:
        peer.detect(image)

    def found() -> None:
        torch.save(peer.detect(image)(), folder / f"{name}_found.pth")

    def paste() -> None:
        peer.paste(**maps)

    def step() -> float:
        peer.model.zero_grad(set_to_none=True)
        loss = peer.loss(image, target)
        loss.backward()
        return loss.item()

    def versions() -> str:
        return f"{name} {version(name)}, torch {torch.__version__}, Python {platform.python_version()}"

    work = {"detect": detect, "found": found, "step": step} | ({"paste": paste} if maps else {})
    return {**work, "versions": versions, "peak": peak_mb}


if __name__ == "__main__":
    main()
