from types import SimpleNamespace
from typing import Any

import pytest

from cascade_rcnn.data.workers import _lost
from cascade_rcnn.errors import UserError


@pytest.mark.parametrize(("code", "parts"), [(1, ["could not start", "__main__"]), (-9, ["has died", "out of memory"])])
def test_a_worker_that_failed_is_told_from_one_that_was_killed(code, parts):
    """One that failed could not import the script, or a class of a notebook."""
    worker: Any = SimpleNamespace(exitcode=code)
    lost = _lost(RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly"), [worker])
    assert isinstance(lost, UserError)
    assert all(part in str(lost) for part in parts)
