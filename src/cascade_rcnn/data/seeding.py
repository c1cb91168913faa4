"""Random numbers that depend only on a seed."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def seeded(seed: int | None) -> Iterator[None]:
    """Seed torch (on the CPU), NumPy and `random` inside the block, and restore their state afterwards.

    With None, nothing changes.
    """
    if seed is None:
        yield
        return
    python, array = random.getstate(), np.random.get_state()  # noqa: NPY002  used by third-party datasets
    # Not torch.manual_seed, which would also seed the GPU's generator in a process that trains on it.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(array)  # noqa: NPY002
