"""The processes of a training run on this machine, which are started, monitored and stopped together.

If one of them dies, Lightning's own launcher would kill all others (SIGKILL) without an error message.
"""

import atexit
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

from cascade_rcnn.errors import UserError

_PARENT = "CASCADE_RCNN_PARENT"  # environment variable with the process id of the first rank
PATIENCE = 5.0  # seconds to wait for a process with a better error message
ADVICE = "it may have run out of memory; --resume auto continues from the last saved state"


def start(devices: int, *, externally: bool) -> None:
    """Run this command again for each rank except the first, which is this process.

    This does nothing in a process that was started this way, or if the processes are started `externally`.
    """
    parent = int(os.environ.get(_PARENT, "0"))
    if parent and os.getppid() == parent:
        threading.Thread(target=_follow, args=(parent,), daemon=True).start()
    if parent or externally:
        return
    command = _this_command()
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "NODE_RANK": "0", "LOCAL_RANK": "0"}
    os.environ.update(shared)
    environment = os.environ | {_PARENT: str(os.getpid())}
    ranks = [subprocess.Popen(command, env=environment | {"LOCAL_RANK": str(rank)}) for rank in range(1, devices)]
    ending = threading.Event()
    threading.Thread(target=_watch, args=(ranks, ending), daemon=True).start()
    atexit.register(_end, ranks)
    atexit.register(ending.set)  # the last to be registered is the first to be called


def _this_command() -> list[str]:
    """Return the command of this process. Raises UserError if it has none, as in a notebook."""
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is None:
        if not hasattr(main, "__file__"):
            raise UserError("training on several devices starts this program once per device; put it in a file")
        return [sys.executable, *sys.argv]
    return [sys.executable, "-m", spec.name.removesuffix(".__main__"), *sys.argv[1:]]


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _watch(ranks: Sequence[subprocess.Popen], ending: threading.Event) -> None:
    """Stop the run if one of its processes has died: the others would wait for it forever.

    When the first process is `ending`, it ends those that are still there itself.
    """
    while not any(code := [rank.poll() for rank in ranks]):
        if all(value == 0 for value in code) or ending.wait(0.2):
            return
    if ending.is_set():
        return
    number, died = next((i, value) for i, value in enumerate(code, start=1) if value)
    if died > 0:  # it has reported why, and so will this process if it hits the same error
        time.sleep(PATIENCE)
    how = f"was killed by signal {-died}" if died < 0 else f"ended with exit code {died}"
    print(f"error: process {number} of this training run {how}; {ADVICE}", file=sys.stderr, flush=True)
    _end(ranks)
    os._exit(1)  # the main thread may be blocked in a collective operation, which nothing else interrupts


def _end(ranks: Sequence[subprocess.Popen]) -> None:
    for rank in ranks:
        if rank.poll() is None:
            rank.kill()


def _follow(parent: int) -> None:
    """Exit when the first process is killed; when it exits normally, it ends this process itself."""
    while os.getppid() == parent:
        time.sleep(0.5)
    if os.environ.get("LOCAL_RANK") == "1":  # a single message is enough
        print(f"error: process 0 of this training run was killed; {ADVICE}", file=sys.stderr, flush=True)
    os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))


def are_started_externally() -> bool:
    """Return whether torchrun or Ray Train has started the processes."""
    return "LOCAL_WORLD_SIZE" in os.environ


def on_this_machine(devices: int) -> int:
    """Return the number of processes on this machine: one per device, unless they are started externally."""
    return int(os.environ["LOCAL_WORLD_SIZE"]) if are_started_externally() else devices


def of_the_run(devices: int) -> int:
    """Return the number of processes on all machines that train together."""
    here = on_this_machine(devices)
    return int(os.environ.get("WORLD_SIZE", here)) if are_started_externally() else here


def is_first() -> bool:
    """Return whether this is the first process, which reports errors for all."""
    return int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0"))) == 0


def wait_for_first() -> None:
    """After an error on all ranks, wait on all but the first until it has reported the error and ended the others."""
    if not is_first():
        time.sleep(PATIENCE)
