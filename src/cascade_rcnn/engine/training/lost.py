"""The error of a training run that has lost some of its processes, a single line that names them.

A process that loses contact registers in the store of the process group. Those that have not registered after a while
are gone.
"""

import os
import time
from datetime import timedelta

import torch.distributed as dist

from cascade_rcnn.engine.interrupt import StopRequest
from cascade_rcnn.engine.training.processes import ADVICE, PATIENCE
from cascade_rcnn.errors import UserError, reason

_SIGNS = ("connection closed by peer", "connection reset", "broken pipe", "gloo", "nccl")
_LONGEST = 15.0  # seconds until a process has noticed, as it may be in the middle of a step
_CONNECTING = 5.0  # seconds to reach the store


def is_lost_contact(error: RuntimeError) -> bool:
    """Return whether this is an error of communication between processes."""
    return any(sign in str(error).lower() for sign in _SIGNS)


def report_lost(error: RuntimeError, rank: int, number: int) -> UserError:
    """Return an error that names those of `number` processes that are gone.

    It returns only in the first of the remaining processes; the others end without a message, by SystemExit.
    """
    with StopRequest():  # torchrun asks the others to stop in the meantime
        time.sleep(PATIENCE)  # the process that started this one may know more, and end it
        missing = _missing(rank, number)
        if rank != min(set(range(number)) - set(missing)):
            time.sleep(PATIENCE)
            raise SystemExit(1)
    if not missing:
        return UserError(
            f"the processes of this training run lost contact ({reason(error)}); --resume auto continues it"
        )
    which = f"process {missing[0]}" if len(missing) == 1 else f"processes {', '.join(map(str, missing))}"
    return UserError(f"{which} of this training run {'is' if len(missing) == 1 else 'are'} gone; {ADVICE}")


def _missing(rank: int, number: int) -> list[int]:
    """Return the processes that have not registered, as soon as it is only one, or after `_LONGEST` seconds."""
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")  # torchrun's store still has the keys of earlier ones
    keys = [f"cascade_rcnn/{attempt}/{one}" for one in range(number)]
    deadline = time.monotonic() + _LONGEST
    try:
        store = dist.TCPStore(  # pyright: ignore[reportPrivateImportUsage]  # documented as torch.distributed's
            os.environ["MASTER_ADDR"],
            int(os.environ["MASTER_PORT"]),
            is_master=False,
            wait_for_workers=False,
            timeout=timedelta(seconds=_CONNECTING),
        )
        store.set(keys[rank], "")
        while True:
            missing = [one for one in range(number) if not store.check([keys[one]])]
            if len(missing) <= 1 or time.monotonic() > deadline:
                return missing
            time.sleep(0.2)
    except RuntimeError:  # the store is gone, and with it the first process
        return [0] if rank else []
