"""Run the tests, write docs/results/torture.{json,md}, and fail if anything is silently wrong, hangs or crashes."""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from benchmarks.torture import kills, page, services
from benchmarks.torture.annotations import Coco, Voc, Yolo
from benchmarks.torture.areas import Area, run_area
from benchmarks.torture.checkpoints import Checkpoints, States
from benchmarks.torture.commands import Commands
from benchmarks.torture.faults import Faults
from benchmarks.torture.images import Images, not_covered, suffixes
from benchmarks.torture.outcomes import Tally
from benchmarks.torture.outlines import Outlines, crowded
from benchmarks.torture.pickles import Pickles
from benchmarks.torture.training_runs import write_data

RESULTS = Path("docs/results")
_TIMEOUT = 300.0  # seconds for a command that normally takes a few


def areas() -> dict[str, tuple[Area, int, int]]:
    """Return the kinds of mutated files by name, each with its number of cases, in full and in a trial."""
    parts: dict[str, tuple[Area, int, int]] = {kind.__name__.lower(): (kind(), 1000, 25) for kind in (Coco, Voc, Yolo)}
    parts |= {"outlines": (Outlines(), 1000, 25)}
    parts |= {suffix: (Images(suffix), 4000, 25) for suffix in suffixes()}
    parts |= {"checkpoints": (Checkpoints(), 500, 6), "states": (States(), 500, 15)}
    return parts | {"pickles": (Pickles(), 20_000, 200)}


def campaigns(given: argparse.Namespace, folder: Path) -> dict[str, Callable[[], Tally]]:
    """Return all parts by their names for --only."""
    parts: dict[str, Callable[[], Tally]] = {}
    for name, (area, full, trial) in areas().items():
        number = given.cases or (trial if given.quick else full)
        parts[name] = lambda area=area, number=number, name=name: run_area(area, number, given.seed, folder / name)
    parts["crowded"] = lambda: crowded(1 if given.quick else 4)
    commands, random = Commands(folder, _TIMEOUT), np.random.default_rng(given.seed)
    number = 1 if given.quick else 10
    parts["train"] = lambda: kills.kill_train(
        commands, folder / "train", write_data(folder / "data"), 2 * number, random
    )
    parts["predict"] = lambda: kills.kill_predict(commands, folder / "predict", number, random)
    parts["export"] = lambda: kills.kill_export(commands, folder / "export", number // 2, random)
    parts["service"] = lambda: services.hostile_requests(0.2 if given.quick else 1.0)
    parts["ray"] = lambda: services.killed_actor(folder / "ray", 200 if given.quick else 1000)
    parts["faults"] = lambda: Faults(commands, folder / "faults", write_data(folder / "data")).run()
    return parts


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="PART", help="run only these parts (an unknown name lists them)")
    parser.add_argument("--quick", action="store_true", help="a trial with a few cases of each kind")
    parser.add_argument("--cases", type=int, help="number of cases for each kind of mutated file")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help=f"folder for the results (default: {RESULTS}; for a trial: runs)")
    given = parser.parse_args(arguments)
    started = time.monotonic()
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the commands that are started
    torch.set_num_threads(1)  # the judging processes are forked, which threads do not survive
    with tempfile.TemporaryDirectory(prefix="torture-") as folder:
        parts = campaigns(given, Path(folder))
        if unknown := set(given.only or ()) - parts.keys():
            parser.error(f"unknown part {', '.join(sorted(unknown))}; known: {', '.join(parts)}")
        tallies = [_run(name, parts[name]) for name in given.only or parts]
    faults = sum(len(tally.faults) for tally in tallies)
    print(_write(given, tallies, time.monotonic() - started))
    if faults:
        sys.exit(f"{faults} faults")


def _run(name: str, part: Callable[[], Tally]) -> Tally:
    started = time.monotonic()
    tally = part()
    counts = ", ".join(f"{count} {outcome}" for outcome, count in tally.counts.items() if count)
    print(f"{name}: {counts} ({time.monotonic() - started:.0f} s)", flush=True)
    for line in tally.skipped:
        print(f"  not tested: {line}", flush=True)
    for fault in tally.faults[:5]:
        print(f"  {fault.outcome}: {fault.case!r}: {fault.said!r}", flush=True)
    return tally


def _write(given: argparse.Namespace, tallies: list[Tally], seconds: float) -> Path:
    from cascade_rcnn.engine.environment import describe

    if missing := not_covered():
        tallies[-1].skipped.append(f"images of type {', '.join(missing)}: there is no way to write them here")
    content = {
        "machine": describe(),
        "quick": given.quick,
        "seed": given.seed,
        "seconds": seconds,
        "areas": [tally.to_dict() for tally in tallies],
    }
    results = given.output or (Path("runs") if given.quick else RESULTS)
    return page.write(results, content, keep=given.only is not None)


if __name__ == "__main__":
    main()
