"""The end of a training run that has lost some of its processes: one line that names them.

A process that loses contact says in the store of the process group that it is still there. Whoever has not said so
after a while is gone.
"""

import os
import time
from datetime import timedelta

import torch.distributed as dist

from cascade_rcnn.engine.interrupt import StopRequest
from cascade_rcnn.engine.training.processes import ADVICE, PATIENCE
from cascade_rcnn.errors import UserError

_SIGNS = ("connection closed by peer", "connection reset", "broken pipe", "gloo", "nccl")
_LONGEST = 15.0  # seconds that a process may need to notice, as it may be in the middle of a step
_CONNECTING = 5.0  # seconds


def is_lost_contact(error: RuntimeError) -> bool:
    """Return whether this is an error of communication between processes."""
    return any(sign in str(error).lower() for sign in _SIGNS)


def report_lost(error: RuntimeError, rank: int, number: int) -> UserError:
    """Return the message that names those of `number` processes that are gone.

    Only the first of those that remain returns; in the others, SystemExit ends the process without a message.
    """
    with StopRequest():  # torchrun asks the others to stop in the meantime
        time.sleep(PATIENCE)  # whoever started the processes may know more, and end this one
        missing = _missing(rank, number)
        if rank != min(set(range(number)) - set(missing)):
            time.sleep(PATIENCE)
            raise SystemExit(1)
    if not missing:
        what = (str(error).splitlines() or [""])[0]
        return UserError(f"the processes of this training run lost contact ({what}); --resume continues it")
    which = f"process {missing[0]}" if len(missing) == 1 else f"processes {', '.join(map(str, missing))}"
    return UserError(f"{which} of this training run {'is' if len(missing) == 1 else 'are'} gone; {ADVICE}")


def _missing(rank: int, number: int) -> list[int]:
    """Return the processes that do not answer, as soon as it is a single one."""
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")  # torchrun's store remembers those before it
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
    except RuntimeError:  # the first process holds the store
        return [0] if rank else []
