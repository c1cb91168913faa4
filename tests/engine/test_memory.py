"""Available memory, from the files in which Linux reports it, and memory in use."""

from pathlib import Path

import numpy as np
import pytest

from cascade_rcnn.engine.memory import available_memory, memory_of


def _system(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


_MACHINE = {"proc/meminfo": "MemTotal: 9 kB\nMemAvailable:     8000 kB\n"}
_TWO = "sys/fs/cgroup"
_ONE = "sys/fs/cgroup/memory"


@pytest.mark.parametrize(
    ("files", "left"),
    [
        ({"proc/self/cgroup": "0::/\n"}, 8_192_000),  # no group has a limit
        (  # version 2: 5,000,000 - 2,000,000, where 500,000 can be reclaimed
            {
                "proc/self/cgroup": "0::/\n",
                f"{_TWO}/memory.max": "5000000\n",
                f"{_TWO}/memory.current": "2000000\n",
                f"{_TWO}/memory.stat": "anon 7\ninactive_file 500000\n",
            },
            3_500_000,
        ),
        (  # the limit of an outer group; the inner one has none
            {
                "proc/self/cgroup": "0::/user/job\n",
                f"{_TWO}/user/job/memory.max": "max\n",
                f"{_TWO}/user/job/memory.current": "1\n",
                f"{_TWO}/user/job/memory.stat": "",
                f"{_TWO}/user/memory.max": "600\n",
                f"{_TWO}/user/memory.current": "500\n",
                f"{_TWO}/user/memory.stat": "",
            },
            100,
        ),
        (  # version 1
            {
                "proc/self/cgroup": "5:cpu:/x\n4:memory:/box\n0::/\n",
                f"{_ONE}/box/memory.limit_in_bytes": "900\n",
                f"{_ONE}/box/memory.usage_in_bytes": "300\n",
                f"{_ONE}/box/memory.stat": "total_inactive_file 100\n",
            },
            700,
        ),
    ],
)
def test_the_tightest_limit_counts(tmp_path, files, left):
    assert available_memory(_system(tmp_path, _MACHINE | files)) == left


def test_other_systems_do_not_say(tmp_path):
    assert available_memory(tmp_path) is None


@pytest.mark.skipif(available_memory() is None, reason="needs Linux")
def test_memory_that_was_given_back_counts():
    wanted = 64 * 2**20
    assert 0.9 * wanted < memory_of(lambda: np.ones(wanted // 8).sum()) < 1.5 * wanted  # Linux counts imprecisely
    assert memory_of(lambda: None) < wanted / 8
