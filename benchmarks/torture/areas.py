"""Areas of mutated files; the cases of each run in a child process that may crash or hang."""

import multiprocessing
import resource
import warnings
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np

from benchmarks.torture.mutations import Random
from benchmarks.torture.outcomes import Outcome, Tally, Verdict, judge

WALL_SECONDS = 120.0  # after that long without a message, the child is stuck where no signal reaches it
_MEMORY = 12 * 2**30  # address space of a child, so that a decompression bomb ends in a MemoryError
Case: TypeAlias = tuple[str, Callable[[], str | None]]  # what was done; a function that reads it and says what is wrong


class Area(Protocol):
    """Files of one kind."""

    name: str

    def prepare(self, folder: Path) -> None:
        """Write the good files."""
        ...

    def case(self, random: Random, folder: Path) -> Case:
        """Damage the files in a new way."""
        ...


def run_area(area: Area, number: int, seed: int, folder: Path) -> Tally:
    """Judge `number` cases; case i depends only on (area, seed, i)."""
    folder.mkdir(parents=True, exist_ok=True)
    area.prepare(folder)
    tally, done = Tally(area.name), 0
    while done < number:
        for verdict in _in_child(area, range(done, number), seed, folder):
            tally.add(verdict)
            done += 1
    return tally


def _in_child(area: Area, cases: range, seed: int, folder: Path) -> Iterator[Verdict]:
    """Yield verdicts until the child finishes, crashes or hangs, but at least one."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=_judge_all, args=(area, cases, seed, folder, there), daemon=True)
    child.start()
    there.close()
    for index in cases:
        name = f"{area.name} {seed}/{index}"
        if not here.poll(WALL_SECONDS):
            child.kill()
            yield Verdict(name, Outcome.HANG, f"no answer within {WALL_SECONDS:g} s")
            break
        try:
            yield here.recv()
        except EOFError:
            child.join()
            yield Verdict(name, Outcome.TRACEBACK, f"the process died with exit code {child.exitcode}")
            break
    child.join(5)
    here.close()


def _judge_all(area: Area, cases: range, seed: int, folder: Path, answer: Connection) -> None:
    warnings.simplefilter("ignore")  # a warning is not a result
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, resource.RLIM_INFINITY))
    for index in cases:
        answer.send(_judge(area, index, seed, folder))


def _judge(area: Area, index: int, seed: int, folder: Path) -> Verdict:
    name, run = area.case(np.random.default_rng([seed, index]), folder)
    return judge(f"{area.name} {seed}/{index}: {name}", run)
