"""Common flags, timing and result files of the benchmarks.

A time is the median of several runs after a warm-up. The candidates take turns (A B C A B C ...), so that other work on
the machine affects all of them alike; their ratios are more reliable than the times. Each peak memory and each cold
start is measured in a fresh process.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

RESULTS = Path("docs/results/performance")
QUICK_RESULTS = Path("runs/benchmarks")
RESTRICTED = "-restricted"  # suffix of result files that were measured on a restricted processor
KINDS = ("inference", "training")
STATUS = Path("/proc/self/status")  # on Linux
PEERS = ("detectron2", "mmdet")  # measured if they can be imported here, or in the Python given by --peer
# These variables make a processor behave like an older one: ONEDNN_MAX_CPU_ISA=AVX2, MKL_ENABLE_INSTRUCTIONS=AVX2 and
# ATEN_CPU_CAPABILITY=avx2 restrict all of torch's matrix products, convolutions and loops.
_RESTRICTIONS = ("ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS", "ATEN_CPU_CAPABILITY")
_P = ParamSpec("_P")
_T = TypeVar("_T")


@dataclass(frozen=True)
class Task:
    """The work that every candidate does for an image."""

    size: tuple[int, int]  # height and width of the photo
    proposals: int = 1000  # boxes that enter the heads at inference; training samples half as many
    classes: int = 80
    masks: bool = False  # Mask R-CNN and Cascade Mask R-CNN
    backbone: str = "resnet50"

    def __str__(self) -> str:
        return f"{self.size[0]} x {self.size[1]} pixels, batch 1"


@dataclass(frozen=True, kw_only=True)
class Options:
    """The flags that all scripts share."""

    quick: bool
    repeats: int
    threads: int
    image: Path | None
    data: Path | None
    checkpoints: list[Path]
    compile: bool
    peers: dict[str, Path]
    kind: str | None
    output: Path

    @property
    def checkpoint(self) -> Path | None:
        """The trained model for parts that need only one."""
        return self.checkpoints[0] if self.checkpoints else None

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of work to measure."""
        return (self.kind,) if self.kind else KINDS

    @property
    def inference(self) -> Task:
        """The inference task."""
        return Task((128, 192), proposals=50) if self.quick else Task((800, 1216))

    @property
    def training(self) -> Task:
        """The task for a training step."""
        return Task((128, 128), proposals=50) if self.quick else Task((800, 800))

    @property
    def beside_peers(self) -> Task:
        """The task for comparisons with detectron2 and mmdetection, with their image size for both kinds of work."""
        return Task((128, 192), proposals=50) if self.quick else Task((800, 1333))


@dataclass(frozen=True, kw_only=True)
class Row:
    """A result, and what it is compared with. `bound` is the maximum of the ratio, or of the value if there is none."""

    what: str
    value: float
    unit: str
    floor: float | None = None  # the minimum on this machine, in the same unit
    ratio: float | None = None
    against: str = ""  # the denominator of the ratio
    bound: float | None = None
    least: bool = False  # the bound is a minimum, not a maximum

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None if there is none."""
        if self.bound is None:
            return None
        figure = self.value if self.ratio is None else self.ratio
        return figure >= self.bound if self.least else figure <= self.bound


def options(description: str | None, arguments: list[str] | None = None) -> Options:
    """Parse the command line, and set torch's threads."""
    parser = argparse.ArgumentParser(description=description)
    add_flags(parser)
    given = vars(parser.parse_args(arguments))
    quick = given["quick"]
    given["repeats"] = given["repeats"] or (1 if quick else 7)
    given["threads"] = given["threads"] or (1 if quick else 2)
    given["output"] = given["output"] or (QUICK_RESULTS if quick else RESULTS)
    given["peers"] = dict(_peer(text, parser) for text in given.pop("peer"))
    import torch

    torch.set_num_threads(given["threads"])
    return Options(**given)


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quick", action="store_true", help="a trial at a small size that takes seconds")
    parser.add_argument("--repeats", type=int, help="timed runs per candidate (default: 7)")
    parser.add_argument("--threads", type=int, help="number of torch threads (default: 2)")
    parser.add_argument("--image", type=Path, help="a photo (default: matplotlib's sample)")
    parser.add_argument("--data", type=Path, help="a folder with images/, person_train.json and person_val.json")
    parser.add_argument("--checkpoints", type=Path, nargs="+", default=[], help="models trained on --data's classes")
    parser.add_argument("--compile", action="store_true", help="also measure torch.compile")
    parser.add_argument("--kind", choices=KINDS, help="measure only this kind of work in parts that have both")
    parser.add_argument(
        "--peer", nargs="+", action="extend", default=[], metavar="NAME=PYTHON",
        help=f"measure {' or '.join(PEERS)} in this Python, e.g. detectron2=/path/to/venv/bin/python",
    )  # fmt: skip
    parser.add_argument("--output", type=Path, help=f"folder for the results (default: {RESULTS})")


def _peer(text: str, parser: argparse.ArgumentParser) -> tuple[str, Path]:
    name, _, python = text.partition("=")
    if name not in PEERS or not Path(python).is_file():
        given = " or ".join(f"{peer}=PYTHON" for peer in PEERS)
        parser.error(f"--peer {text}: give {given}, where PYTHON is an existing interpreter")
    return name, Path(python)


def seconds(run: Callable[[], Any]) -> float:
    """Return the wall-clock seconds of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def interleaved(candidates: Mapping[str, Callable[[], Any]], repeats: int, warmup: int = 2) -> dict[str, float]:
    """Return the median seconds of each candidate; the candidates take turns."""
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for turn in range(min(warmup, repeats) + repeats):
        for name, run in candidates.items():
            taken = seconds(run)
            if turn >= min(warmup, repeats):
                times[name].append(taken)
    return {name: statistics.median(taken) for name, taken in times.items()}


def fresh(function: Callable[_P, _T], *positional: _P.args, **named: _P.kwargs) -> _T:
    """Call a function of a module in a new process; arguments and result are passed as JSON."""
    module, name = function.__module__, function.__name__
    if module == "__main__":
        module = sys.modules[module].__spec__.name  # pyright: ignore[reportOptionalMemberAccess]  run with -m
    code = f"import json, sys; from {module} import {name}; a, b = json.loads(sys.argv[1]); r = {name}(*a, **b)"
    code += "; print('\\n' + json.dumps(r))"
    given = json.dumps([positional, named], default=str)
    done = subprocess.run([sys.executable, "-c", code, given], stdout=subprocess.PIPE)
    if done.returncode:
        raise SystemExit(f"{module}.{name} with {given} failed (see above)")
    return json.loads(done.stdout.decode().splitlines()[-1])


def peak_mb() -> float:
    """Return the peak resident memory of this process; ru_maxrss would include the parent's."""
    if STATUS.is_file():
        return status_mb("VmHWM")
    from cascade_rcnn.engine.environment import peak_memory_mb

    return peak_memory_mb()


def status_mb(field: str) -> float:
    """Return a field of the kernel's status of this process, which is given in kB."""
    lines = STATUS.read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def write(part: str, given: Options, rows: list[Row], notes: list[str] | None = None, **more: Any) -> None:
    """Print the results, and write them as JSON with a description of the machine."""
    from cascade_rcnn.engine.environment import describe
    from cascade_rcnn.files import write_json

    for row in rows:
        ratio = "" if row.ratio is None else f"   {row.ratio:.3g} x {row.against}"
        print(f"{part}: {row.what:50} {row.value:10.4g} {row.unit}{ratio}", flush=True)
    for note in notes or []:
        print(f"{part}: {note}", flush=True)
    restricted = restrictions()
    content = {
        "part": part,
        "machine": describe() | {"threads": given.threads, "restrictions": restricted},
        "quick": given.quick,
        "repeats": given.repeats,
        "rows": [asdict(row) for row in rows],
        "notes": notes or [],
    }
    write_json(given.output / f"{part}{RESTRICTED if restricted else ''}.json", content | more)


def keep_settings(output: Path, settings: Mapping[str, Any]) -> None:
    """Write the settings of the runs in a folder, or stop if the runs in it, which are kept, had others."""
    from cascade_rcnn.files import read_json, write_json

    file = output / "settings"  # not .json, which the results of the runs are
    before = read_json(file) if file.is_file() else settings
    for name, value in settings.items():
        if value != before.get(name):
            raise SystemExit(f"{output} has runs with {name} {before.get(name)}, not {value}; choose another --output")
    output.mkdir(parents=True, exist_ok=True)
    write_json(file, dict(settings))


def restrictions() -> dict[str, str]:
    """Return the variables that restrict the processor here."""
    return {name: os.environ[name] for name in _RESTRICTIONS if name in os.environ}


def skip(part: str, why: str) -> None:
    """Print why a part cannot be measured here."""
    print(f"{part}: not measured: {why}", flush=True)


def gpu_of(machine: Mapping[str, Any]) -> str:
    """Name the GPU of a machine described by `describe`."""
    return "no GPU" if machine["gpu"] == "none" else machine["gpu"]
