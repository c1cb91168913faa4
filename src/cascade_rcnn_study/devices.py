"""A work queue for several devices, with a process for each job that sees only its own device.

Each process writes its output to a log. Ctrl-C reaches only the parent process, which then asks the others to stop.
"""

import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

from cascade_rcnn.engine.interrupt import Interrupted, deaf, ending_cleanly
from cascade_rcnn.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Job:
    """A unit of work."""

    name: str
    title: str
    log: Path  # file for its output
    work: Callable[[], None]  # can be pickled
    after: str | None = None  # a job that must end before this one starts, if there is one with that name


def environments(number: int, accelerator: str) -> list[dict[str, str]]:
    """Return environment variables that restrict a process to one device, for each of the first `number` devices.

    CPU cores are shared: each process gets its share of the threads. Raises UserError if there are fewer GPUs.
    """
    import torch

    if accelerator == "cpu" or not torch.cuda.is_available():
        return [{"OMP_NUM_THREADS": str(max(1, torch.get_num_threads() // number))}] * number
    visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(torch.cuda.device_count())))
    names = visible.split(",")
    if number > len(names):
        raise UserError(f"devices is {number}, but there are {len(names)} GPUs; give {len(names)} or fewer")
    return [{"CUDA_VISIBLE_DEVICES": name} for name in names[:number]]


def run_jobs(jobs: Sequence[Job], devices: Sequence[Mapping[str, str]], say: Callable[[str], None]) -> None:
    """Run all jobs in order, as many at a time as there are devices.

    `devices` contains the environment variables of each device. Raises UserError if a job fails, and `Interrupted` when
    the user stops it, in both cases after the other processes have ended.
    """
    waiting, busy = list(jobs), {}
    try:
        while waiting or busy:
            for device in sorted(set(range(len(devices))) - busy.keys()):
                held = {job.name for job in [*waiting, *(job for job, _ in busy.values())]}
                if (job := next((job for job in waiting if job.after not in held), None)) is not None:
                    say(f"{job.title} (device {device}, log {job.log})")
                    waiting.remove(job)
                    busy[device] = job, _start(job, devices[device])
            wait([process.sentinel for _, process in busy.values()])
            for device, (job, process) in list(busy.items()):
                if not process.is_alive():
                    del busy[device]
                    _check(job, process)
    except KeyboardInterrupt:
        raise Interrupted("stopped and saved; run the same command to continue") from None
    finally:
        for _, process in busy.values():
            process.terminate()  # the process saves its state before it exits
        for _, process in busy.values():
            process.join()


def _check(job: Job, process: SpawnProcess) -> None:
    if process.exitcode:
        lines = job.log.read_text(encoding="utf-8", errors="replace").splitlines() if job.log.is_file() else []
        said = next((line for line in reversed(lines) if line.startswith("error: ")), f"exit code {process.exitcode}")
        raise UserError(f"{job.name}: {said.removeprefix('error: ')} (log: {job.log})")


def _start(job: Job, environment: Mapping[str, str]) -> SpawnProcess:
    """Start the process of a job, which unpickles its work after setting up its output and signals."""
    job.log.parent.mkdir(parents=True, exist_ok=True)
    process = multiprocessing.get_context("spawn").Process(target=_run, args=(job.log, pickle.dumps(job.work)))
    with _changed_environment(environment), deaf():
        process.start()
    return process


@contextmanager
def _changed_environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def _run(log: Path, pickled: bytes) -> None:
    """Run a job in its process."""
    os.setsid()  # Ctrl-C in the terminal no longer reaches this process
    # Otherwise, data loading processes would be spawned as well, and import torch again, which takes seconds for each.
    multiprocessing.set_start_method(None, force=True)
    threading.Thread(target=_follow, daemon=True).start()
    with log.open("wb") as file:
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)
    try:
        with ending_cleanly():
            pickle.loads(pickled)()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except (Interrupted, KeyboardInterrupt) as stop:
        print(stop)
        sys.exit(130)


def _follow() -> None:
    """Stop this process as by SIGTERM when its parent process is gone."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
