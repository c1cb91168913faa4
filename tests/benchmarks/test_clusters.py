import os
import subprocess
import sys
from functools import partial

import pytest

from benchmarks.clusters import Ended, process_of, render


def test_the_page_has_what_was_measured():
    lost = [Ended(1, 2.04, ["error: process 0 is gone"]), Ended(1, 3.06, ["error: process 1 is gone"])]
    page = render(4.0, 6.0, lost, Ended(0, 12.3, []), same=True)
    assert "| one process | 4.00 |" in page
    assert "| two processes | 6.00 (1.50 times as many) |" in page
    assert "| the second of two | 3.1 s | 1 |" in page
    assert "```\nerror: process 0 is gone\nerror: process 1 is gone\n```" in page
    assert "12 s after the kill. The final weights are bit-identical to those of a run\nwithout a kill." in page
    assert "The final weights are different from those" in render(4.0, 6.0, lost, Ended(1, 1.0, []), same=False)


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs /proc")  # noqa: PTH112
def test_a_process_is_found_by_its_rank(tmp_path):
    plain = {name: value for name, value in os.environ.items() if name != "LOCAL_RANK"}
    command = [sys.executable, "-c", "print('started', flush=True); input()", "--output", str(tmp_path)]
    start = partial(subprocess.Popen, command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with start(env=plain) as first, start(env=plain | {"LOCAL_RANK": "1"}) as second:
        for process in (first, second):  # until then, /proc may show nothing of it
            assert process.stdout.readline() == b"started\n"
        assert process_of(tmp_path, 0) == first.pid
        assert process_of(tmp_path, 1) == second.pid
        with pytest.raises(SystemExit, match="rank 2"):
            process_of(tmp_path, 2)
        for process in (first, second):
            process.communicate(b"\n")
