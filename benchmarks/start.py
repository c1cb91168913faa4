"""How long until something happens? `cascade-rcnn --help`, and the first prediction of a process that starts cold."""

import subprocess
import sys
import tempfile
from pathlib import Path

import PIL.Image

from benchmarks.measure import Options, Row, fresh, interleaved, options, write
from benchmarks.photo import photograph

_FIRST = "import cascade_rcnn, sys; cascade_rcnn.load(sys.argv[1], min_size=None).predict(sys.argv[2])"
_HELP_SECONDS, _FIRST_SECONDS = 0.5, 4.0


def main(given: Options) -> None:
    task = given.inference
    image = photograph(task.size, given.image)
    with tempfile.TemporaryDirectory() as name:
        source = str(given.image) if given.image else None
        fresh("memory:prepare", folder=name, size=task.size, proposals=task.proposals, image=source)
        photo = Path(name) / "photo.png"
        PIL.Image.fromarray(image.permute(1, 2, 0).numpy()).save(photo)
        checkpoint = str(Path(name) / "cascade.safetensors")
        commands = {
            "python": ["-c", "pass"],
            "help": ["-m", "cascade_rcnn", "--help"],
            "torch": ["-c", "import torch, torchvision"],
            "first": ["-c", _FIRST, checkpoint, str(photo)],
        }
        times = interleaved({name: lambda c=command: _run(c) for name, command in commands.items()}, given.repeats, 1)
    first = f"first prediction of a cold process, ResNet-50 cascade, {task.size[0]} x {task.size[1]}"
    rows = [
        Row(what="cascade-rcnn --help", value=times["help"], unit="s", floor=times["python"], bound=_HELP_SECONDS),
        Row(what=first, value=times["first"], unit="s", floor=times["torch"], bound=_FIRST_SECONDS),
    ]
    write("start", given, rows, ["the floors: Python alone; importing torch and torchvision alone"])


def _run(command: list[str]) -> None:
    subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main(options(__doc__))
