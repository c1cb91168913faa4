"""The server: a peer's detector in its own Python, which answers each request with a line of JSON.

Nothing from cascade_rcnn is imported here.
"""

import importlib
import json
import os
import platform
import sys
from collections.abc import Callable
from functools import partial
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

    def detect(precision: torch.dtype = torch.float32) -> None:
        with _autocast(precision):
            peer.detect(image)

    def found() -> None:
        torch.save(peer.detect(image)(), folder / f"{name}_found.pth")

    def paste() -> None:
        peer.paste(**maps)

    def step(precision: torch.dtype = torch.float32) -> float:
        peer.model.zero_grad(set_to_none=True)
        with _autocast(precision):
            loss = peer.loss(image, target)
        loss.backward()
        return loss.item()

    def failing() -> dict[str, str]:
        """Return the first line of the error of each request that fails in bf16."""
        said = {}
        for name in ("detect bf16", "step bf16"):
            try:
                work[name]()
            except Exception as error:  # noqa: BLE001  whatever the framework raises
                said[name] = f"{type(error).__name__}: {error}".splitlines()[0]
        return said

    def versions() -> str:
        return f"{name} {version(name)}, torch {torch.__version__}, Python {platform.python_version()}"

    work: dict[str, Callable[[], Any]] = {"detect": detect, "found": found, "step": step}
    work |= {"detect bf16": partial(detect, torch.bfloat16), "step bf16": partial(step, torch.bfloat16)}
    work |= {"paste": paste} if maps else {}
    return {**work, "failing": failing, "versions": versions, "peak": peak_mb}


def _autocast(precision: torch.dtype) -> torch.autocast:
    return torch.autocast("cpu", precision, enabled=precision is not torch.float32)


if __name__ == "__main__":
    main()
