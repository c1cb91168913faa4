"""The client: detectors of detectron2 and mmdetection, each in a process of a Python that has the framework."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from benchmarks.measure import PEERS, Task

_ROOT = Path(__file__).resolve().parents[2]


def interpreters(given: Mapping[str, Path]) -> dict[str, Path]:
    """Return the Python of each peer that can be measured: the given one, or this one if it has the peer."""
    here = {name: Path(sys.executable) for name in PEERS if find_spec(name)}
    return here | dict(given)


class PeerProcess:
    """A peer's detector with the weights of `weights.prepare`, in a process that ends with the `with` block."""

    def __init__(self, name: str, python: Path, folder: Path, task: Task, threads: int) -> None:
        self.name, self.folder = name, folder
        what = {"name": name, "folder": str(folder), "task": asdict(task), "threads": threads}
        command = [str(python), "-m", "benchmarks.peers.serve", json.dumps(what)]
        environment = os.environ | {"PYTHONPATH": str(_ROOT)}
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment)
        self.versions: str = self._answer()

    def ask(self, what: str) -> Any:
        """Send a request: "detect", a training "step" (returns the loss), "paste" (masks) or "peak" (memory in MB).

        "detect bf16" and "step bf16" run under autocast; "failing" returns those that fail, with their errors.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(what + "\n")
        self._process.stdin.flush()
        return self._answer()

    def found(self) -> dict[str, Tensor]:
        """Return the peer's detections on the photo, in torchvision's format."""
        self.ask("found")
        return torch.load(self.folder / f"{self.name}_found.pth", weights_only=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()  # closes its input, which ends the process

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.communicate()
            raise SystemExit(f"{self.name}: the process ended (see above)")
        return json.loads(line)
