"""Training with several processes over gloo: the speed of two compared with one, and what happens if one is killed.

`python -m benchmarks.clusters` fine-tunes the starter on the package's blood cells, with four images per update: with
one process, with two, with two of which one is killed, and with torchrun, which restarts both.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import torch

from cascade_rcnn import load
from cascade_rcnn.assets import CELLS
from cascade_rcnn.engine.environment import describe
from cascade_rcnn.engine.training.metric_log import read_csv

PAGE = Path("docs/results/clusters.md")
TRAIN = ("train", "quickstart", "--data.train", str(CELLS / "train.json"), "--data.val", "", "--no-report")
FLAGS = ("--epochs", "1", "--accelerator", "cpu", "--precision", "fp32", "--workers", "0")
HALF = ("--batch-size", "2")  # per process, of two
TORCHRUN = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", "--max-restarts", "1")


class Ended(NamedTuple):
    """How a training run ended."""

    code: int
    seconds: float  # since the kill
    lines: list[str]  # on stderr that begin with "error: "


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--page", type=Path, default=PAGE)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        one = train(folder / "one", "--batch-size", "4")
        two = train(folder / "two", *HALF, "--devices", "2")
        lost = [killed(folder / f"lost{rank}", rank, *HALF, "--devices", "2") for rank in (0, 1)]
        again = killed(folder / "again", 1, *HALF, "--save-every", "5", "--resume", "auto", launcher=TORCHRUN)
        same = again.code == 0 and equal(folder / "two", folder / "again")
    given.page.write_text(render(one, two, lost, again, same=same), encoding="utf-8")
    print(given.page)
    if not same or any(end.code == 0 or len(end.lines) != 1 for end in lost):
        sys.exit("a killed process was not handled as documented")


def environment() -> dict[str, str]:
    """Return the environment: one thread per process, and the setting that torchrun's restarts need."""
    return os.environ | {"OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}


def start(output: Path, *flags: str, launcher: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    command = (sys.executable, *launcher, "-m", "cascade_rcnn", *TRAIN, *FLAGS, *flags, "--output", str(output))
    return subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def train(output: Path, *flags: str) -> float:
    """Train to the end and return the images per second of all processes together."""
    training = start(output, *flags)
    _, said = training.communicate()
    if training.returncode:
        sys.exit(said)
    return read_csv(output / "train.csv")[-1]["images_per_s"]  # the mean of the epoch


def killed(output: Path, rank: int, *flags: str, launcher: tuple[str, ...] = ()) -> Ended:
    """Kill the process of this rank after 8 updates and wait for the others."""
    training = start(output, *flags, launcher=launcher)
    wait(lambda: len(read_csv(output / "train.csv")) >= 8 or training.poll() is not None)
    os.kill(process_of(output, rank), signal.SIGKILL)
    since = time.perf_counter()
    _, said = training.communicate()
    lines = [line for line in said.splitlines() if line.startswith("error: ")]
    return Ended(training.returncode, time.perf_counter() - since, lines)


def wait(reached: Callable[[], bool]) -> None:
    while not reached():
        time.sleep(0.1)


def process_of(output: Path, rank: int) -> int:
    """Find a training process by its command line and its rank (the first one of `--devices` has none)."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (folder / "cmdline").read_bytes().split(b"\0")
            variables = (folder / "environ").read_bytes().split(b"\0")
            ranks = [int(one.partition(b"=")[2]) for one in variables if one.startswith(b"LOCAL_RANK=")] or [0]
            if str(output).encode() in words and b"torch.distributed.run" not in words and ranks == [rank]:
                return int(folder.name)
    raise SystemExit(f"no process of rank {rank} was found")


def equal(one: Path, other: Path) -> bool:
    """Return whether all final weights are bit-identical."""
    first, second = (load(folder / "last.safetensors").state_dict() for folder in (one, other))
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def render(one: float, two: float, lost: list[Ended], again: Ended, *, same: bool) -> str:
    """Format the page."""
    here = describe()
    where = f"{here['processor']}, {here['cores']} cores; Python {here['python']}, torch {here['torch']}"
    weights = "bit-identical to" if same else "different from"
    said = "\n".join(line for end in lost for line in end.lines)
    return f"""# Training with several processes

`python -m benchmarks.clusters` trains one epoch of the recipe `quickstart` on the package's 80 images of blood cells,
in fp32, with gloo on one machine without a GPU, one thread per process and four images per update.

| | images/s |
|---|---|
| one process | {one:.2f} |
| two processes | {two:.2f} ({two / one:.2f} times as many) |

| killed after 8 updates | the other process ends after | exit status |
|---|---|---|
| the first of two | {lost[0].seconds:.1f} s | {lost[0].code} |
| the second of two | {lost[1].seconds:.1f} s | {lost[1].code} |

The messages:

```
{said}
```

With `torchrun --max-restarts 1`, `--save-every 5` and `--resume auto`, both processes are restarted and continue from
the last saved state. They end {again.seconds:.0f} s after the kill. The final weights are {weights} those of a run
without a kill.

{where}; {here["date"]}.
"""


if __name__ == "__main__":
    main()
