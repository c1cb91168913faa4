"""How long does the start take? `cascade-rcnn --help`, and the first prediction of a cold process.

Each is timed from the start of the process to its last line of output.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import PIL.Image

from benchmarks.measure import Options, Row, fresh, options, write
from benchmarks.memory import prepare
from benchmarks.photo import photograph

_FIRST = "import cascade_rcnn, sys; print(len(cascade_rcnn.load(sys.argv[1], min_size=None).predict(sys.argv[2])))"
_HELP_SECONDS, _FIRST_SECONDS = 0.5, 4.0


def main(given: Options) -> None:
    task = given.inference
    image = photograph(task.size, given.image)
    with tempfile.TemporaryDirectory() as name:
        source = str(given.image) if given.image else None
        fresh(prepare, folder=name, task=asdict(task), image=source)
        photo = Path(name) / "photo.png"
        PIL.Image.fromarray(image.permute(1, 2, 0).numpy()).save(photo)
        checkpoint = str(Path(name) / "cascade.safetensors")
        commands = {
            "python": ["-c", "print()"],
            "help": ["-m", "cascade_rcnn", "--help"],
            "torch": ["-c", "import torch, torchvision; print()"],
            "first": ["-c", _FIRST, checkpoint, str(photo)],
        }
        times: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(1 + given.repeats):
            for name, command in commands.items():
                times[name].append(_wait(command))
    middle = {name: statistics.median(taken[1:]) for name, taken in times.items()}
    first = f"first prediction of a cold process (ResNet-50 cascade, {task.size[0]} x {task.size[1]})"
    rows = [
        Row(what="cascade-rcnn --help", value=middle["help"], unit="s", floor=middle["python"], bound=_HELP_SECONDS),
        Row(what=first, value=middle["first"], unit="s", floor=middle["torch"], bound=_FIRST_SECONDS),
    ]
    write("start", given, rows, ["the floors are starting Python, and importing torch and torchvision"])


def _wait(command: list[str]) -> float:
    """Return the seconds from the start of a Python process to its last line of output."""
    start = last = time.perf_counter()
    with subprocess.Popen([sys.executable, "-u", *command], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for _ in process.stdout:
            last = time.perf_counter()
    if process.returncode:
        raise SystemExit(f"{command} failed (see above)")
    return last - start


if __name__ == "__main__":
    main(options(__doc__))
